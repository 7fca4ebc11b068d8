package protectedfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func open(t testing.TB, file []byte, opts ReaderOptions) *Reader {
	t.Helper()
	if opts.Path == "" {
		opts.Path = testPath
	}
	r, err := NewReader(bytes.NewReader(file), int64(len(file)), testKey, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReaderContract runs the standard library's checks of an io.ReaderAt.
func TestReaderContract(t *testing.T) {
	for _, size := range []int{0, 1, 3072, 3073, 10000, inlineSize + groupData + 10} {
		plain := stream("contract", size)
		r := open(t, encrypted(t, plain, WriterOptions{}), ReaderOptions{})
		if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), plain); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if r.Size() != int64(size) || r.Path() != testPath || r.Format() != FormatV1 || len(r.Warnings()) > 0 {
			t.Errorf("%d bytes: size %d, path %q, format %d, warnings %v", size, r.Size(), r.Path(), r.Format(), r.Warnings())
		}
		if n, err := r.ReadAt(make([]byte, 1), int64(size)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes: reading at the end gives %d, %v", size, n, err)
		}
		if n, err := r.ReadAt(make([]byte, 1), 1<<62); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes: reading far behind the end gives %d, %v", size, n, err)
		}
		if n, err := r.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%d bytes: reading before the start gives %d, %v", size, n, err)
		}
	}
}

// TestReaderProperties compares random reads with the same reads of a buffer.
func TestReaderProperties(t *testing.T) {
	plain := stream("properties", inlineSize+70*groupData+99) // three levels, and more hash nodes than are remembered
	file := encrypted(t, plain, WriterOptions{Format: FormatV2})
	r, want := open(t, file, ReaderOptions{}), bytes.NewReader(plain)
	rapid.Check(t, func(t *rapid.T) {
		edge := rapid.SampledFrom([]int64{0, inlineSize, inlineSize + NodeSize, inlineSize + groupData, inlineSize + 33*groupData, int64(len(plain))}).Draw(t, "edge")
		off := max(edge+rapid.Int64Range(-5000, 5000).Draw(t, "distance"), 0)
		n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 3*groupData)).Draw(t, "length")
		got, exp := make([]byte, n), make([]byte, n)
		gn, gerr := r.ReadAt(got, off)
		wn, werr := want.ReadAt(exp, off)
		// bytes.Reader reports no EOF for an empty read behind the end.
		if gn != wn || !bytes.Equal(got, exp) || (!errors.Is(gerr, werr) && n > 0) {
			t.Fatalf("reading %d bytes at %d gives %d, %v; want %d, %v", n, off, gn, gerr, wn, werr)
		}
	})
}

func TestReaderConcurrent(t *testing.T) {
	plain := stream("concurrent", inlineSize+66*groupData)
	r := open(t, encrypted(t, plain, WriterOptions{}), ReaderOptions{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			buf := make([]byte, 100000)
			for range 40 {
				off, n := rnd.IntN(len(plain)), rnd.IntN(len(buf))
				m, err := r.ReadAt(buf[:n], int64(off))
				if (err != nil && !errors.Is(err, io.EOF)) || !bytes.Equal(buf[:m], plain[off:off+m]) || m != min(n, len(plain)-off) {
					t.Errorf("%d bytes at %d: %d, %v", n, off, m, err)
				}
			}
		})
	}
	wg.Wait()
}

// recordingReader notes which nodes are read.
type recordingReader struct {
	io.ReaderAt
	mu    sync.Mutex
	nodes map[int64]int
}

func (r *recordingReader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	for n := off / NodeSize; n*NodeSize < off+int64(len(p)); n++ {
		r.nodes[n]++
	}
	r.mu.Unlock()
	return r.ReaderAt.ReadAt(p, off)
}

// TestReaderTouchesWhatItNeeds reads one byte and checks that only its node and
// the hash nodes above were read, and that damage elsewhere does not matter.
func TestReaderTouchesWhatItNeeds(t *testing.T) {
	plain := stream("touch", inlineSize+40*groupData)
	file := encrypted(t, plain, WriterOptions{})
	group := int64(34) // below hash node 1, which is below the root
	wanted := map[int64]bool{0: true, hashNodeNumber(0): true, hashNodeNumber(1): true, hashNodeNumber(group): true, hashNodeNumber(group) + 3: true}
	for n := range file {
		if !wanted[int64(n/NodeSize)] {
			file[n] ^= 0xff
		}
	}
	rec := &recordingReader{ReaderAt: bytes.NewReader(file), nodes: map[int64]int{}}
	r, err := NewReader(rec, int64(len(file)), testKey, ReaderOptions{Path: testPath})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1)
	off := groupStart(group) + 2*NodeSize + 5
	for range 2 {
		if _, err := r.ReadAt(buf, off); err != nil || buf[0] != plain[off] {
			t.Fatalf("read %x, %v; want %x", buf, err, plain[off])
		}
	}
	for n := range rec.nodes {
		if !wanted[n] {
			t.Errorf("node %d was read", n)
		}
	}
	for n := range wanted {
		if want := map[bool]int{true: 2, false: 1}[n == hashNodeNumber(group)+3]; rec.nodes[n] != want {
			t.Errorf("node %d was read %d times, want %d", n, rec.nodes[n], want)
		}
	}
	var e *Error
	if n, err := r.ReadAt(make([]byte, 3*NodeSize), off); n != NodeSize-5 || !errors.As(err, &e) || e.Kind != KindDataNodeMAC || e.Node != hashNodeNumber(group)+4 {
		t.Errorf("reading on into a damaged node gives %d bytes, %v", n, err)
	}
}

func TestReaderNeedsAPathAndAKey(t *testing.T) {
	file := encrypted(t, nil, WriterOptions{})
	for _, tc := range []struct {
		name string
		key  Key
		opts ReaderOptions
		want string
	}{
		{"no path", testKey, ReaderOptions{}, "open protected file: no path given to compare with the embedded one, nor any allowed"},
		{"zero key", Key{}, ReaderOptions{AllowAnyPath: true}, "open protected file: the wrap key is all zero: it was never set"},
		{"NUL", testKey, ReaderOptions{Path: "a\x00"}, "normalize path: the path contains a NUL byte"},
	} {
		if _, err := NewReader(bytes.NewReader(file), int64(len(file)), tc.key, tc.opts); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// TestReaderReportsItsFile distinguishes a file that cannot be read from one
// that is damaged.
func TestReaderReportsItsFile(t *testing.T) {
	file := encrypted(t, stream("io", 3*groupData), WriterOptions{})
	broken := errors.New("bad sector")
	for _, node := range []int64{0, 1, 2, 98, 99} {
		src := &brokenAt{bytes.NewReader(file), node, broken}
		_, err := Verify(t.Context(), src, int64(len(file)), testKey, ReaderOptions{Path: testPath})
		var e *Error
		if !errors.Is(err, broken) || errors.As(err, &e) || !strings.HasPrefix(err.Error(), "read node ") {
			t.Errorf("node %d: %v", node, err)
		}
	}
	// A file that becomes shorter while it is read.
	r := open(t, file, ReaderOptions{})
	r.src = bytes.NewReader(file[:5*NodeSize+10])
	var e *Error
	if err := r.Verify(t.Context()); !errors.As(err, &e) || e.Kind != KindTruncated || e.Offset != 5*NodeSize+10 || !strings.Contains(err.Error(), "node 5 at offset 20490: truncated: the file ends here while it is read") {
		t.Errorf("shrinking file: %v", err)
	}
}

type brokenAt struct {
	io.ReaderAt
	node int64
	err  error
}

func (b *brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.node*NodeSize && b.node*NodeSize < off+int64(len(p)) {
		return 0, b.err
	}
	return b.ReaderAt.ReadAt(p, off)
}

func TestDecryptReportsItsOutput(t *testing.T) {
	plain := stream("output", inlineSize+5*groupData)
	file := encrypted(t, plain, WriterOptions{})
	for _, space := range []int64{0, inlineSize, inlineSize + 3*groupData} {
		dst := &failingAfter{}
		dst.left.Store(space)
		if _, err := Decrypt(t.Context(), dst, bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath}); !errors.Is(err, errDiskFull) {
			t.Errorf("space for %d bytes: %v", space, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Decrypt(ctx, discard{}, bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath, Progress: func(int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestFirstDamageIsReported checks that what is reported does not depend on
// which goroutine is faster.
func TestFirstDamageIsReported(t *testing.T) {
	file := encrypted(t, make([]byte, inlineSize+20*groupData), WriterOptions{})
	for _, node := range []int64{hashNodeNumber(3) + 50, hashNodeNumber(4), hashNodeNumber(4) + 7, hashNodeNumber(9), hashNodeNumber(19) + 96} {
		file[node*NodeSize] ^= 1
	}
	for i := range 20 {
		_, err := Verify(t.Context(), bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath, Jobs: 1 + i%8})
		var e *Error
		if !errors.As(err, &e) || e.Node != hashNodeNumber(3)+50 {
			t.Fatalf("%v, want data node 337", err)
		}
		if want := "data node 337 (node 342) at offset 1400832: the authentication tag does not match"; !strings.HasPrefix(err.Error(), want) {
			t.Fatalf("%v, want %q", err, want)
		}
	}
}

func TestReaderSourceDigest(t *testing.T) {
	for _, size := range boundarySizes {
		plain := stream("source digest", size)
		want, err := SourceDigest(t.Context(), bytes.NewReader(plain), int64(size), testKey, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, reproducible := range []bool{false, true} {
			dst := &memory{}
			if reproducible {
				_, err = EncryptReproducible(t.Context(), dst, bytes.NewReader(plain), int64(size), testKey, WriterOptions{Path: testPath})
			} else {
				_, err = Encrypt(t.Context(), dst, bytes.NewReader(plain), testKey, WriterOptions{Path: testPath})
			}
			if err != nil {
				t.Fatal(err)
			}
			got, same, err := open(t, dst.b, ReaderOptions{}).SourceDigest(t.Context(), testKey)
			if err != nil || got != want || same != reproducible {
				t.Errorf("%d bytes: %x, reproducible %v, %v; want %x, %v", size, got, same, err, want, reproducible)
			}
		}
	}
}

func TestInspect(t *testing.T) {
	for _, size := range boundarySizes {
		for _, format := range []Format{FormatV1, FormatV2} {
			file := encrypted(t, make([]byte, size), WriterOptions{Format: format})
			h, err := Inspect(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			if h.Format != format || h.MinorVersion != 0 || h.Pending || h.FileSize != int64(len(file)) || h.Nodes != int64(len(file)/NodeSize) || len(h.Warnings) > 0 {
				t.Errorf("%d bytes: %+v", size, h)
			}
			if int64(size) < h.MinPlaintextSize || int64(size) > h.MaxPlaintextSize || h.MaxPlaintextSize-h.MinPlaintextSize > NodeSize {
				t.Errorf("%d bytes are not within %d to %d", size, h.MinPlaintextSize, h.MaxPlaintextSize)
			}
		}
	}
}

func TestReencrypt(t *testing.T) {
	plain := stream("reencrypt", inlineSize+34*groupData+5)
	other := testKey
	other[0] ^= 1
	for _, format := range []Format{FormatV1, FormatV2} {
		file := encrypted(t, plain, WriterOptions{Format: format})
		for _, key := range []Key{other, testKey} {
			dst := &memory{}
			sum, err := Reencrypt(t.Context(), dst, open(t, file, ReaderOptions{}), key, WriterOptions{})
			if err != nil || sum.Path != testPath || sum.Format != format || sum.Size != int64(len(plain)) {
				t.Fatalf("%+v, %v", sum, err)
			}
			for p := range len(file) / NodeSize {
				if bytes.Equal(dst.b[p*NodeSize+100:][:100], file[p*NodeSize+100:][:100]) {
					t.Fatalf("node %d is as it was", p)
				}
			}
			out := &memory{}
			if _, err := Decrypt(t.Context(), out, dst, int64(len(dst.b)), key, ReaderOptions{Path: testPath, Strict: true}); err != nil || !bytes.Equal(out.b, plain) {
				t.Errorf("%v", err)
			}
		}
	}
	if _, err := Reencrypt(t.Context(), &memory{}, open(t, encrypted(t, plain, WriterOptions{}), ReaderOptions{}), Key{}, WriterOptions{}); !errors.Is(err, errZeroKey) {
		t.Errorf("zero key: %v", err)
	}
}

func ExampleNewReader() {
	key := Key{1}
	var file memory
	opts := WriterOptions{Path: "data/greeting"}
	if _, err := Encrypt(context.Background(), &file, strings.NewReader("hello enclave"), key, opts); err != nil {
		fmt.Println(err)
		return
	}
	r, err := NewReader(&file, int64(len(file.b)), key, ReaderOptions{Path: "./data//greeting"})
	if err != nil {
		fmt.Println(err)
		return
	}
	buf := make([]byte, 7)
	_, err = r.ReadAt(buf, 6)
	fmt.Println(string(buf), err)

	_, err = NewReader(&file, int64(len(file.b)), key, ReaderOptions{Path: "data/other"})
	fmt.Println(err)
	// Output:
	// enclave <nil>
	// header at offset 58: it was encrypted for the path "data/greeting", not "data/other"
}
