package protectedfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

var (
	testKey  = Key(stream("test wrap key", KeySize))
	testPath = "models/1/saved_model.pb"
)

// boundarySizes are where the layout changes, up to three levels of hash nodes.
var boundarySizes = []int{
	0, 1, 3071, 3072, 3073, 4096, 7167, 7168, 7169,
	inlineSize + groupData - 1, inlineSize + groupData, inlineSize + groupData + 1,
	inlineSize + 33*groupData, inlineSize + 33*groupData + 1, // hash node 33 is on the third level
	inlineSize + 34*groupData + 777,
}

// writeOnly hides that a file can be read back.
type writeOnly struct{ io.WriterAt }

func encrypted(t testing.TB, plain []byte, opts WriterOptions) []byte {
	t.Helper()
	if opts.Path == "" {
		opts.Path = testPath
	}
	dst := &memory{}
	if _, err := Encrypt(t.Context(), dst, bytes.NewReader(plain), testKey, opts); err != nil {
		t.Fatal(err)
	}
	return dst.b
}

func decrypted(t testing.TB, file []byte, opts ReaderOptions) []byte {
	t.Helper()
	if opts.Path == "" {
		opts.Path = testPath
	}
	opts.Strict = true
	dst := &memory{}
	if _, err := Decrypt(t.Context(), dst, bytes.NewReader(file), int64(len(file)), testKey, opts); err != nil {
		t.Fatal(err)
	}
	return dst.b
}

func TestRoundTrip(t *testing.T) {
	plain := stream("round trip", boundarySizes[len(boundarySizes)-1])
	for _, size := range boundarySizes {
		want := plain[:size]
		s, err := shapeOf(int64(size))
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []Format{FormatV1, FormatV2} {
			for name, write := range map[string]func(dst *memory) error{
				"unknown size, read back": func(dst *memory) error {
					_, err := Encrypt(t.Context(), dst, bytes.NewReader(want), testKey, WriterOptions{Path: testPath, Format: format, Jobs: 3})
					return err
				},
				"unknown size, write only": func(dst *memory) error {
					_, err := Encrypt(t.Context(), writeOnly{dst}, bytes.NewReader(want), testKey, WriterOptions{Path: testPath, Format: format})
					return err
				},
				"known size": func(dst *memory) error {
					_, err := Encrypt(t.Context(), writeOnly{dst}, bytes.NewReader(want), testKey, WriterOptions{Path: testPath, Format: format, Size: int64(size)})
					return err
				},
				"reproducible": func(dst *memory) error {
					_, err := EncryptReproducible(t.Context(), writeOnly{dst}, bytes.NewReader(want), int64(size), testKey, WriterOptions{Path: testPath, Format: format})
					return err
				},
			} {
				dst := &memory{}
				if err := write(dst); err != nil {
					t.Fatalf("%d bytes, v%d, %s: %v", size, format, name, err)
				}
				if int64(len(dst.b)) != s.fileSize() {
					t.Errorf("%d bytes, v%d, %s: file of %d bytes, want %d", size, format, name, len(dst.b), s.fileSize())
				}
				if got := decrypted(t, dst.b, ReaderOptions{Jobs: 3}); !bytes.Equal(got, want) {
					t.Errorf("%d bytes, v%d, %s: the plaintext does not come back", size, format, name)
				}
			}
		}
	}
}

// trickle gives what next says of p at a time.
func trickle(p []byte, next func() int) io.Reader {
	return readerFunc(func(to []byte) (int, error) {
		if len(p) == 0 {
			return 0, io.EOF
		}
		n := copy(to[:min(next(), len(to))], p)
		p = p[n:]
		return n, nil
	})
}

func TestEncryptSmallReads(t *testing.T) {
	plain := stream("steps", inlineSize+2*groupData+5)
	for _, step := range []int{1, 1000, 4096, groupData, len(plain)} {
		for _, size := range []int64{0, int64(len(plain))} {
			dst := &memory{}
			s, err := Encrypt(t.Context(), dst, trickle(plain, func() int { return step }), testKey, WriterOptions{Path: testPath, Size: size})
			if err != nil {
				t.Fatal(err)
			}
			if s.Size != int64(len(plain)) || s.FileSize != int64(len(dst.b)) || s.HashNodes != 3 || s.DataNodes != 193 || s.Path != testPath || s.Format != FormatV1 {
				t.Errorf("step %d: summary %+v", step, s)
			}
			if !bytes.Equal(decrypted(t, dst.b, ReaderOptions{}), plain) {
				t.Errorf("step %d: the plaintext does not come back", step)
			}
		}
	}
}

// TestEncryptFromPosition checks that a file is encrypted from where it stands,
// however it can be read.
func TestEncryptFromPosition(t *testing.T) {
	const skipped = 1000
	plain := stream("position", skipped+inlineSize+3*groupData+5)
	path := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(path, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pr.Close() }()
	go func() {
		_, _ = pw.Write(plain)
		_ = pw.Close()
	}()
	for name, src := range map[string]io.Reader{"file": f, "pipe": pr, "memory": bytes.NewReader(plain)} {
		if _, err := io.CopyN(io.Discard, src, skipped); err != nil {
			t.Fatal(err)
		}
		if name != "pipe" && !sourceOf(src, 1).anywhere() {
			t.Errorf("%s is read from front to back", name)
		}
		dst := &memory{}
		if _, err := Encrypt(t.Context(), dst, src, testKey, WriterOptions{Path: testPath, Size: int64(len(plain) - skipped)}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(decrypted(t, dst.b, ReaderOptions{}), plain[skipped:]) {
			t.Errorf("%s: the plaintext does not come back", name)
		}
	}
}

// TestNoKeyTwice checks on the finished file what the format's security stands
// on: no two nodes have the same key, and no two files have one in common.
func TestNoKeyTwice(t *testing.T) {
	plain := stream("keys", inlineSize+34*groupData+1)
	seen := map[string]int64{}
	for i, opts := range []WriterOptions{{}, {}, {Size: int64(len(plain))}} {
		file := encrypted(t, plain, opts)
		r, err := NewReader(bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath})
		if err != nil {
			t.Fatal(err)
		}
		add := func(s slot, node int64) {
			if bytes.Equal(s.key(), make([]byte, keySize)) {
				t.Fatalf("node %d has no key", node)
			}
			if other, ok := seen[string(s.key())]; ok {
				t.Fatalf("file %d: node %d has the key of node %d", i, node, other)
			}
			seen[string(s.key())] = node
		}
		for m := range r.shape.hash {
			s, err := r.hashSlot(m)
			if err != nil {
				t.Fatal(err)
			}
			add(s, hashNodeNumber(m))
			node, err := r.hashNode(m)
			if err != nil {
				t.Fatal(err)
			}
			for n := range r.shape.dataIn(m) {
				add(node.dataSlot(n), dataNodeNumber(m*dataPerHash+int64(n)))
			}
		}
	}
}

func TestReproducible(t *testing.T) {
	plain := stream("reproducible", inlineSize+2*groupData+5)
	enc := func(key Key, plain []byte, opts WriterOptions) ([]byte, Summary) {
		t.Helper()
		if opts.Path == "" {
			opts.Path = testPath
		}
		dst := &memory{}
		s, err := EncryptReproducible(t.Context(), dst, bytes.NewReader(plain), int64(len(plain)), key, opts)
		if err != nil {
			t.Fatal(err)
		}
		return dst.b, s
	}
	base, summary := enc(testKey, plain, WriterOptions{})
	for _, opts := range []WriterOptions{{}, {Jobs: 1}, {Jobs: 7}, {Path: "./models//1/x/../saved_model.pb"}, {Rand: iotest.ErrReader(io.ErrUnexpectedEOF)}} {
		if again, _ := enc(testKey, plain, opts); !bytes.Equal(again, base) {
			t.Errorf("%+v: another file", opts)
		}
	}

	digest, err := SourceDigest(t.Context(), bytes.NewReader(plain), int64(len(plain)), testKey, 0)
	if err != nil || digest != summary.SourceDigest {
		t.Errorf("source digest %x, %v; the summary has %x", digest, err, summary.SourceDigest)
	}
	if summary.HeaderDigest != sha256.Sum256(base[:NodeSize]) {
		t.Error("the header digest is not that of node 0")
	}
	// Frozen: another file would be a change of every encrypted artefact.
	sum := sha256.Sum256(base)
	if got, want := hex.EncodeToString(sum[:]), "f13b55823ac63c0a3c4711863b9bfbd45035cb3b9481bf83c82e3be073dccb9d"; got != want {
		t.Errorf("SHA-256 of the file is %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(digest[:]), "e75a56262afd8738de76ee063ed8de27dd913bdfc825e3beac187ec82aad6e91"; got != want {
		t.Errorf("source digest is %s, want %s", got, want)
	}

	otherKey, otherPlain := testKey, bytes.Clone(plain)
	otherKey[3] ^= 1
	otherPlain[len(plain)-1] ^= 1
	for name, other := range map[string]func() ([]byte, Summary){
		"key":    func() ([]byte, Summary) { return enc(otherKey, plain, WriterOptions{}) },
		"source": func() ([]byte, Summary) { return enc(testKey, otherPlain, WriterOptions{}) },
		"path":   func() ([]byte, Summary) { return enc(testKey, plain, WriterOptions{Path: "other"}) },
		"format": func() ([]byte, Summary) { return enc(testKey, plain, WriterOptions{Format: FormatV2}) },
	} {
		file, s := other()
		for p := 1; p < len(base)/NodeSize; p++ {
			if bytes.Equal(file[p*NodeSize:][:16], base[p*NodeSize:][:16]) {
				t.Errorf("another %s leaves node %d as it was", name, p)
			}
		}
		if same := s.SourceDigest == summary.SourceDigest; same != (name == "path" || name == "format") {
			t.Errorf("another %s: source digest equal: %v", name, same)
		}
	}
}

// changing is a source whose content depends on how often it was read.
type changing struct {
	first, later []byte
	reads        atomic.Int64
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	if c.reads.Add(1) > ceilDiv(int64(len(c.first)), groupData)+2 {
		return bytes.NewReader(c.later).ReadAt(p, off)
	}
	return bytes.NewReader(c.first).ReadAt(p, off)
}

// TestReproducibleSourceChanges checks that a source that changes between the
// passes never meets the keys of what it was.
func TestReproducibleSourceChanges(t *testing.T) {
	plain := stream("changing", inlineSize+3*groupData+100)
	changed := func(at int) []byte {
		b := bytes.Clone(plain)
		b[at] ^= 1
		return b
	}
	for _, tc := range []struct {
		name  string
		later []byte
		want  string
	}{
		{"inline", changed(0), "its first bytes are not what they were"},
		{"first group", changed(inlineSize), "bytes 3072 to 396287 are not what they were"},
		{"last byte", changed(len(plain) - 1), "bytes 1182720 to 1182819 are not what they were"},
		{"shorter", plain[:len(plain)-1], "the source changed while it was read"},
		{"much shorter", plain[:10], "the source changed while it was read"},
		{"longer", append(bytes.Clone(plain), 0), "it has more than 1182820 bytes"},
	} {
		dst := &memory{}
		_, err := EncryptReproducible(t.Context(), dst, &changing{first: plain, later: tc.later}, int64(len(plain)), testKey, WriterOptions{Path: testPath})
		if !errors.Is(err, errSourceChanged) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
		if len(dst.b) >= NodeSize && !bytes.Equal(dst.b[:NodeSize], make([]byte, NodeSize)) {
			t.Errorf("%s: node 0 was written", tc.name)
		}
		if tc.name == "first group" && len(dst.b) > 2*NodeSize && !bytes.Equal(dst.b[2*NodeSize:3*NodeSize], make([]byte, NodeSize)) {
			t.Errorf("%s: a changed group was encrypted", tc.name)
		}
	}
	for _, size := range []int64{int64(len(plain)) - 1, int64(len(plain)) + 1} {
		if _, err := EncryptReproducible(t.Context(), &memory{}, bytes.NewReader(plain), size, testKey, WriterOptions{Path: testPath}); !errors.Is(err, errSourceChanged) {
			t.Errorf("size %d of %d: %v", size, len(plain), err)
		}
		if _, err := SourceDigest(t.Context(), bytes.NewReader(plain), size, testKey, 0); !errors.Is(err, errSourceChanged) {
			t.Errorf("digest, size %d of %d: %v", size, len(plain), err)
		}
		if _, err := Encrypt(t.Context(), &memory{}, bytes.NewReader(plain), testKey, WriterOptions{Path: testPath, Size: size}); !errors.Is(err, errSourceChanged) {
			t.Errorf("random, size %d of %d: %v", size, len(plain), err)
		}
	}
}

func TestDigestWhileEncrypting(t *testing.T) {
	for _, size := range []int{0, 5, inlineSize + 1, inlineSize + 200*groupData/2} {
		plain := bytes.Repeat(stream("digest", 4096), size/4096+1)[:size]
		want, err := SourceDigest(t.Context(), bytes.NewReader(plain), int64(size), testKey, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, known := range []int64{0, int64(size)} {
			s, err := Encrypt(t.Context(), &memory{}, bytes.NewReader(plain), testKey, WriterOptions{Path: testPath, Digest: true, Size: known})
			if err != nil || s.SourceDigest != want {
				t.Errorf("%d bytes: digest %x, %v; want %x", size, s.SourceDigest, err, want)
			}
		}
	}
}

func TestWriterOptionsRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		key  Key
		opts WriterOptions
		want string
	}{
		{"no path", testKey, WriterOptions{}, "normalize path: the path is empty"},
		{"dot", testKey, WriterOptions{Path: "."}, `normalize path: "." normalises to "", which names no file`},
		{"NUL", testKey, WriterOptions{Path: "a\x00"}, "normalize path: the path contains a NUL byte"},
		{"format", testKey, WriterOptions{Path: "a", Format: 3}, "write protected file: format 3 does not exist, want 1 or 2"},
		{"zero key", Key{}, WriterOptions{Path: "a"}, "write protected file: the wrap key is all zero: it was never set"},
		{"size", testKey, WriterOptions{Path: "a", Size: -1}, "write protected file: plaintext of -1 bytes: a size from 0 to 4611686018427387904 is possible"},
	} {
		dst := &memory{}
		if _, err := Encrypt(t.Context(), dst, strings.NewReader("x"), tc.key, tc.opts); err == nil || err.Error() != tc.want {
			t.Errorf("%s: Encrypt: %v, want %q", tc.name, err, tc.want)
		}
		if tc.name == "size" {
			continue
		}
		if _, err := EncryptReproducible(t.Context(), dst, strings.NewReader("x"), 1, tc.key, tc.opts); err == nil || err.Error() != tc.want {
			t.Errorf("%s: EncryptReproducible: %v, want %q", tc.name, err, tc.want)
		}
		if len(dst.b) > 0 {
			t.Errorf("%s: something was written", tc.name)
		}
	}
}

// failingAfter writes until it has seen n bytes.
type failingAfter struct {
	memory
	left atomic.Int64
}

var errDiskFull = errors.New("no space left")

func (f *failingAfter) WriteAt(p []byte, off int64) (int, error) {
	if f.left.Add(-int64(len(p))) < 0 {
		return 0, errDiskFull
	}
	return f.memory.WriteAt(p, off)
}

func TestWriterReportsItsFiles(t *testing.T) {
	plain := stream("errors", inlineSize+40*groupData)
	for _, space := range []int64{0, 100, groupData, 20 * groupData, 40 * groupData, 3881 * NodeSize} {
		dst := &failingAfter{}
		dst.left.Store(space)
		if _, err := Encrypt(t.Context(), dst, bytes.NewReader(plain), testKey, WriterOptions{Path: testPath}); !errors.Is(err, errDiskFull) {
			t.Errorf("space for %d bytes: %v", space, err)
		}
	}
	broken := errors.New("bad sector")
	for _, n := range []int64{0, 10, inlineSize, inlineSize + 3*groupData + 1} {
		src := io.MultiReader(bytes.NewReader(plain[:n]), iotest.ErrReader(broken))
		dst := &memory{}
		if _, err := Encrypt(t.Context(), dst, src, testKey, WriterOptions{Path: testPath}); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "read plaintext: ") {
			t.Errorf("source that fails after %d bytes: %v", n, err)
		}
		if len(dst.b) >= NodeSize && !bytes.Equal(dst.b[:NodeSize], make([]byte, NodeSize)) {
			t.Error("node 0 was written although the source failed")
		}
	}
	stuck := readerFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := Encrypt(t.Context(), &memory{}, stuck, testKey, WriterOptions{Path: testPath}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v", err)
	}
	weak := &randomOnce{}
	if _, err := Encrypt(t.Context(), &memory{}, bytes.NewReader(plain), testKey, WriterOptions{Path: testPath, Rand: weak}); err == nil || !strings.Contains(err.Error(), "draw node keys") {
		t.Errorf("a random source that ends: %v", err)
	}
}

// randomOnce has randomness for one group.
type randomOnce struct{ n int }

func (r *randomOnce) Read(p []byte) (int, error) {
	if r.n++; r.n > 1 {
		return 0, io.EOF
	}
	return copy(p, stream("random", len(p))), nil
}

func TestEncryptCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(p []byte) (int, error) { return len(p), nil })
	var done int64
	_, err := Encrypt(ctx, discard{}, endless, testKey, WriterOptions{Path: testPath, Progress: func(n int64) {
		if done += n; done > 4*groupData {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if _, err := EncryptReproducible(ctx, discard{}, bytes.NewReader(make([]byte, groupData)), groupData, testKey, WriterOptions{Path: testPath}); !errors.Is(err, context.Canceled) {
		t.Errorf("reproducible: error %v, want that of the context", err)
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestProgressCountsEveryByte(t *testing.T) {
	for _, size := range boundarySizes {
		plain := make([]byte, size)
		var done int64
		file := encrypted(t, plain, WriterOptions{Progress: func(n int64) { done += n }})
		if done != int64(size) {
			t.Errorf("encrypting %d bytes counts %d", size, done)
		}
		done = 0
		opts := WriterOptions{Path: testPath, Progress: func(n int64) { done += n }}
		if _, err := EncryptReproducible(t.Context(), &memory{}, bytes.NewReader(plain), int64(size), testKey, opts); err != nil {
			t.Fatal(err)
		}
		if done != int64(size) {
			t.Errorf("encrypting %d bytes reproducibly counts %d", size, done)
		}
		done = 0
		decrypted(t, file, ReaderOptions{Progress: func(n int64) { done += n }})
		if done != int64(size) {
			t.Errorf("decrypting %d bytes counts %d", size, done)
		}
	}
}

// TestSteadyStateAllocations compares files of two sizes: what a further node
// costs is its AES key and its GCM tables, and next to nothing else.
func TestSteadyStateAllocations(t *testing.T) {
	const groups = 64
	plain := make([]byte, inlineSize+2*groups*groupData)
	file := make(fixed, len(plain)*2)
	ctx := t.Context()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	read := ReaderOptions{Path: testPath, Jobs: 2}
	for _, tc := range []struct {
		name string
		do   func(plain []byte, fileSize int64)
	}{
		{"encrypt", func(p []byte, _ int64) {
			_, err := Encrypt(ctx, file, bytes.NewReader(p), testKey, WriterOptions{Path: testPath, Jobs: 2, Size: int64(len(p))})
			must(err)
		}},
		{"encrypt, unknown size", func(p []byte, _ int64) {
			_, err := Encrypt(ctx, file, bytes.NewReader(p), testKey, WriterOptions{Path: testPath, Jobs: 2})
			must(err)
		}},
		{"encrypt, reproducible", func(p []byte, _ int64) {
			_, err := EncryptReproducible(ctx, file, bytes.NewReader(p), int64(len(p)), testKey, WriterOptions{Path: testPath, Jobs: 2})
			must(err)
		}},
		{"decrypt", func(_ []byte, n int64) {
			_, err := Decrypt(ctx, discard{}, bytes.NewReader(file), n, testKey, ReaderOptions{Path: testPath, Jobs: 2, AllowAnyPath: true})
			must(err)
		}},
		{"verify", func(_ []byte, n int64) {
			_, err := Verify(ctx, bytes.NewReader(file), n, testKey, read)
			must(err)
		}},
	} {
		count := func(groups int) float64 {
			p := plain[:inlineSize+groups*groupData]
			size, err := FileSize(int64(len(p)))
			must(err)
			if strings.HasPrefix(tc.name, "encrypt") {
				size = 0
			} else {
				_, err := Encrypt(ctx, file, bytes.NewReader(p), testKey, WriterOptions{Path: testPath})
				must(err)
			}
			return testing.AllocsPerRun(3, func() { tc.do(p, size) })
		}
		nodes := float64(groups * groupNodes)
		if per := (count(2*groups) - count(groups)) / nodes; per > 2.1 {
			t.Errorf("%s: a node costs %.2f allocations", tc.name, per)
		}
	}
}

// fixed is a file in memory of a fixed size.
type fixed []byte

func (f fixed) WriteAt(p []byte, off int64) (int, error) { return copy(f[off:], p), nil }
func (f fixed) ReadAt(p []byte, off int64) (int, error)  { return copy(p, f[off:]), nil }

// TestReadBackIsChecked changes a hash node on the disk before it is read back.
func TestReadBackIsChecked(t *testing.T) {
	dst := &flipping{node: hashNodeNumber(1)}
	_, err := Encrypt(t.Context(), dst, bytes.NewReader(make([]byte, inlineSize+40*groupData)), testKey, WriterOptions{Path: testPath})
	if err == nil || err.Error() != "write protected file: read back node 98: it is not what was written" {
		t.Errorf("error %v", err)
	}
}

type flipping struct {
	memory
	node int64
}

func (f *flipping) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.memory.ReadAt(p, off)
	if off == f.node*NodeSize {
		p[100] ^= 1
	}
	return n, err
}

func TestEncryptProperties(t *testing.T) {
	pool := stream("pool", inlineSize+3*groupData)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 9000), rapid.IntRange(0, len(pool))).Draw(t, "size")
		format := rapid.SampledFrom([]Format{FormatV1, FormatV2}).Draw(t, "format")
		jobs := rapid.IntRange(1, 4).Draw(t, "jobs")
		known := rapid.SampledFrom([]int64{0, int64(size)}).Draw(t, "known size")
		step := rapid.IntRange(1, len(pool))
		src := trickle(pool[:size], func() int { return step.Draw(t, "step") })
		file := &memory{}
		if _, err := Encrypt(t.Context(), file, src, testKey, WriterOptions{Path: testPath, Format: format, Jobs: jobs, Size: known}); err != nil {
			t.Fatal(err)
		}
		out := &memory{}
		if _, err := Decrypt(t.Context(), out, file, int64(len(file.b)), testKey, ReaderOptions{Path: testPath, Jobs: jobs, Strict: true}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.b, pool[:size]) {
			t.Fatal("the plaintext does not come back")
		}
	})
}
