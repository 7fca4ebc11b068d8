package protectedfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// vector is a protected file made by Gramine's own code.
type vector struct {
	File      string `json:"file"`
	Format    Format `json:"format_version"`
	KeyHex    string `json:"wrap_key_hex"`
	Path      string `json:"embedded_path"`
	Size      int64  `json:"plaintext_size"`
	Seed      string `json:"seed"`
	SHA256    string `json:"plaintext_sha256"`
	FileSize  int64  `json:"file_size"`
	FileHash  string `json:"file_sha256"`
	TailZero  *bool  `json:"first_tail_zero"`
	RootZero  *bool  `json:"root_key_zero"`
	data, key []byte
}

func (v *vector) wrap(t testing.TB) Key {
	t.Helper()
	k, err := ParseKey(v.key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// forEachVector runs f on the vectors in testdata, and on all of them where
// the shared material is there.
func forEachVector(t *testing.T, f func(t *testing.T, v *vector)) {
	t.Helper()
	t.Run("testdata", func(t *testing.T) { eachVectorIn(t, filepath.Join("testdata", "vectors"), 13, f) })
	t.Run("shared", func(t *testing.T) { eachVectorIn(t, testshared.Dir(t, "vectors/pf"), 26, f) })
}

func eachVectorIn(t *testing.T, dir string, want int, f func(t *testing.T, v *vector)) {
	t.Helper()
	vectors := loadVectors(t, dir)
	if len(vectors) != want {
		t.Fatalf("%s lists %d vectors, want %d", dir, len(vectors), want)
	}
	for _, v := range vectors {
		t.Run(v.File, func(t *testing.T) { f(t, v) })
	}
}

func loadVectors(t testing.TB, dir string) []*vector {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Vectors []*vector `json:"vectors"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	for _, v := range index.Vectors {
		if v.data, err = os.ReadFile(filepath.Join(dir, v.File)); err != nil {
			t.Fatal(err)
		}
		if v.key, err = hex.DecodeString(v.KeyHex); err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(v.data); hex.EncodeToString(sum[:]) != v.FileHash {
			t.Fatalf("%s is not the file of the index", v.File)
		}
	}
	return index.Vectors
}

// stream is the plaintext that the vectors were made of.
func stream(seed string, n int) []byte {
	var out []byte
	for i := uint64(0); len(out) < n; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(seed), i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// memory is a file in memory: an io.ReaderAt and io.WriterAt that grows.
type memory struct {
	mu sync.Mutex
	b  []byte
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := int(off) + len(p); end > len(m.b) {
		if end > cap(m.b) {
			m.b = append(make([]byte, 0, 2*end), m.b...)
		}
		m.b = m.b[:end]
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.b).ReadAt(p, off)
}

func TestVectorsDecrypt(t *testing.T) {
	forEachVector(t, func(t *testing.T, v *vector) {
		src := bytes.NewReader(v.data)
		opts := ReaderOptions{Path: v.Path, Strict: true}
		out := &memory{}
		report, err := Decrypt(t.Context(), out, src, src.Size(), v.wrap(t), opts)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(out.b)
		if got := hex.EncodeToString(sum[:]); got != v.SHA256 {
			t.Errorf("plaintext SHA-256 %s, want %s", got, v.SHA256)
		}
		if v.Seed != "" && !bytes.Equal(out.b, stream(v.Seed, int(v.Size))) {
			t.Error("the plaintext is not the stream of the seed")
		}
		s, err := shapeOf(v.Size)
		if err != nil {
			t.Fatal(err)
		}
		if report.Size != v.Size || report.Path != v.Path || report.Format != v.Format ||
			report.FileSize != v.FileSize || s.fileSize() != v.FileSize || report.DataNodes != s.data || report.HashNodes != s.hash {
			t.Errorf("report %+v does not agree with the index %+v", report, v)
		}

		r, err := NewReader(src, src.Size(), v.wrap(t), opts)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || !bytes.Equal(whole, out.b) {
			t.Errorf("reading gives %d bytes, %v; want the %d of decrypting", len(whole), err, len(out.b))
		}
		if _, err := Verify(t.Context(), src, src.Size(), v.wrap(t), opts); err != nil {
			t.Errorf("verify: %v", err)
		}
	})
}

func TestVectorsRefuse(t *testing.T) {
	forEachVector(t, func(t *testing.T, v *vector) {
		src := bytes.NewReader(v.data)
		for _, tc := range []struct {
			name string
			key  func(Key) Key
			opts ReaderOptions
			want Kind
		}{
			{"wrong key, first bit", func(k Key) Key { k[0] ^= 0x80; return k }, ReaderOptions{Path: v.Path}, KindMetadataMAC},
			{"wrong key, last bit", func(k Key) Key { k[15] ^= 1; return k }, ReaderOptions{AllowAnyPath: true}, KindMetadataMAC},
			{"other path", func(k Key) Key { return k }, ReaderOptions{Path: v.Path + "x"}, KindWrongPath},
			{"parent", func(k Key) Key { return k }, ReaderOptions{Path: "../" + v.Path}, KindWrongPath},
			{"path given although any is allowed", func(k Key) Key { return k }, ReaderOptions{Path: "x", AllowAnyPath: true}, KindWrongPath},
		} {
			out := &memory{}
			_, err := Decrypt(t.Context(), out, src, src.Size(), tc.key(v.wrap(t)), tc.opts)
			var e *Error
			if !errors.As(err, &e) || e.Kind != tc.want {
				t.Errorf("%s: error %v, want kind %q", tc.name, err, tc.want)
			}
			if len(out.b) > 0 {
				t.Errorf("%s: %d bytes were written", tc.name, len(out.b))
			}
		}
		// A path that normalises to nothing is not "any path".
		for _, path := range []string{"", ".", "a/..", "/"} {
			if _, err := NewReader(src, src.Size(), v.wrap(t), ReaderOptions{Path: path}); err == nil {
				t.Errorf("path %q was accepted", path)
			}
		}
		// A spelling that normalises to the embedded path is the same path.
		if _, err := NewReader(src, src.Size(), v.wrap(t), ReaderOptions{Path: ".//" + v.Path + "/."}); err != nil {
			t.Errorf("normalisable path: %v", err)
		}
	})
}

// TestVectorsLayout encrypts the plaintext of every vector again and compares
// what must be equal: the length, the header's clear fields, the padding.
func TestVectorsLayout(t *testing.T) {
	forEachVector(t, func(t *testing.T, v *vector) {
		src := bytes.NewReader(v.data)
		r, err := NewReader(src, src.Size(), v.wrap(t), ReaderOptions{AllowAnyPath: true})
		if err != nil {
			t.Fatal(err)
		}
		ours := &memory{}
		if _, err := Encrypt(t.Context(), ours, io.NewSectionReader(r, 0, r.Size()), v.wrap(t), WriterOptions{Path: v.Path, Format: v.Format}); err != nil {
			t.Fatal(err)
		}
		if len(ours.b) != len(v.data) {
			t.Fatalf("%d bytes, the reference has %d", len(ours.b), len(v.data))
		}
		body := v.Format.bodyOffset()
		for _, span := range [][2]int{{0, offNonce}, {offFlags, body}, {body + metaSize, NodeSize}} {
			if v.Format == FormatV1 && span[0] == offFlags {
				continue
			}
			if got, want := ours.b[span[0]:span[1]], v.data[span[0]:span[1]]; !bytes.Equal(got, want) {
				t.Errorf("bytes %d to %d are % x, the reference has % x", span[0], span[1], got, want)
			}
		}
		if v.TailZero != nil {
			return // made by a history of writes: its metadata has leftovers
		}
		again, err := NewReader(ours, int64(len(ours.b)), v.wrap(t), ReaderOptions{Path: v.Path})
		if err != nil {
			t.Fatal(err)
		}
		// All of the metadata but the random key and tag of the root.
		a, b := again.meta, r.meta
		if r.shape.hash == 0 && !bytes.Equal(a.root(), make([]byte, slotSize)) {
			t.Error("the root slot of a file without hash nodes is not zero")
		}
		clear(a.root())
		clear(b.root())
		if a != b {
			t.Error("the metadata differs from the reference's")
		}
	})
}
