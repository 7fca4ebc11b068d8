package protectedfile

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
)

// seedFiles are the vectors, whole, cut and with a node too many.
func seedFiles(f *testing.F) []*vector {
	f.Helper()
	vectors := loadVectors(f, filepath.Join("testdata", "vectors"))
	if len(vectors) == 0 {
		f.Fatal("no seeds: a fuzz target without them tests nothing")
	}
	for _, v := range vectors {
		f.Add(v.data, v.key)
		f.Add(v.data[:len(v.data)-1], v.key)
		f.Add(append(bytes.Clone(v.data), make([]byte, NodeSize)...), v.key)
	}
	f.Add([]byte(magic), make([]byte, KeySize))
	f.Add([]byte{}, []byte{})
	return vectors
}

// FuzzInspect: whatever the bytes, Inspect gives a header that agrees with them
// or a finding.
func FuzzInspect(f *testing.F) {
	seedFiles(f)
	f.Fuzz(func(t *testing.T, data, _ []byte) {
		h, err := Inspect(bytes.NewReader(data), int64(len(data)))
		var e *Error
		switch {
		case err == nil:
			if !h.Format.valid() || h.Nodes*NodeSize != int64(len(data)) || h.MinPlaintextSize > h.MaxPlaintextSize || h.MaxPlaintextSize >= int64(len(data)) {
				t.Errorf("%+v of %d bytes", h, len(data))
			}
		case !errors.As(err, &e):
			t.Errorf("not a finding: %v", err)
		case e.Offset < 0 || e.Offset > int64(len(data)) || e.Error() == "":
			t.Errorf("offset %d of %d bytes: %v", e.Offset, len(data), e)
		}
	})
}

// FuzzOpen: whatever the bytes, opening and verifying end, with a finding or a
// report that agrees with the length.
func FuzzOpen(f *testing.F) {
	seedFiles(f)
	f.Fuzz(func(t *testing.T, data, raw []byte) {
		key, err := ParseKey(raw)
		if err != nil {
			return
		}
		report, err := Verify(t.Context(), bytes.NewReader(data), int64(len(data)), key, ReaderOptions{AllowAnyPath: true, AllowPending: true, Jobs: 1})
		var e *Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Errorf("not a finding: %v", err)
			}
			return
		}
		if s, err := shapeOf(report.Size); err != nil || s.fileSize() > int64(len(data)) {
			t.Errorf("%d bytes of plaintext in a file of %d", report.Size, len(data))
		}
	})
}

// FuzzRead changes one byte of an authentic file and reads anywhere: what comes
// is the plaintext or an error.
func FuzzRead(f *testing.F) {
	vectors := loadVectors(f, filepath.Join("testdata", "vectors"))
	if len(vectors) == 0 {
		f.Fatal("no seeds")
	}
	for i := range vectors {
		f.Add(uint8(i), uint32(100), byte(0), int64(0), uint16(5000))
		f.Add(uint8(i), uint32(8200), byte(1), int64(3000), uint16(2000))
		f.Add(uint8(i), uint32(0), byte(0x80), int64(-1), uint16(1))
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, flip byte, off int64, n uint16) {
		v := vectors[int(which)%len(vectors)]
		intact := bytes.NewReader(v.data)
		good, err := NewReader(intact, intact.Size(), v.wrap(t), ReaderOptions{Path: v.Path})
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Clone(v.data)
		data[int(at)%len(data)] ^= flip
		r, err := NewReader(bytes.NewReader(data), int64(len(data)), v.wrap(t), ReaderOptions{Path: v.Path})
		if err != nil {
			return
		}
		got, want := make([]byte, n), make([]byte, n)
		gn, gerr := r.ReadAt(got, off)
		wn, werr := good.ReadAt(want, off)
		if gn > wn || !bytes.Equal(got[:gn], want[:gn]) {
			t.Errorf("%d bytes at %d are not the plaintext", gn, off)
		}
		if gerr == nil && (gn != wn || werr != nil) {
			t.Errorf("reading gives %d bytes without an error, want %d, %v", gn, wn, werr)
		}
	})
}

// FuzzRecovery: a recovery file is the host's; it makes no reader fail
// otherwise than with a finding, nor give other bytes.
func FuzzRecovery(f *testing.F) {
	plain := stream("before", 9000)
	var before memory
	if _, err := Encrypt(f.Context(), &before, bytes.NewReader(plain), testKey, WriterOptions{Path: testPath, Format: FormatV2}); err != nil {
		f.Fatal(err)
	}
	file := before.b
	var log []byte
	for p := range len(file) / NodeSize {
		log = append(log, byte(p), 0, 0, 0, 0, 0, 0, 0)
		log = append(log, file[p*NodeSize:][:NodeSize]...)
	}
	file = bytes.Clone(file)
	file[offFlags] |= flagPending
	f.Add(log)
	f.Add(log[:recordSize])
	f.Add(log[recordSize:])
	f.Add(log[:100])
	f.Fuzz(func(t *testing.T, log []byte) {
		out := &memory{}
		_, err := Decrypt(t.Context(), out, bytes.NewReader(file), int64(len(file)), testKey,
			ReaderOptions{Path: testPath, Recovery: bytes.NewReader(log), RecoverySize: int64(len(log)), Jobs: 1})
		var e *Error
		switch {
		case err == nil && !bytes.Equal(out.b, plain):
			t.Errorf("%d bytes that are not the plaintext", len(out.b))
		case err != nil && !errors.As(err, &e):
			t.Errorf("not a finding: %v", err)
		}
	})
}

// FuzzNormalizePath: the result is a fixed point, and names no way out that the
// input does not.
func FuzzNormalizePath(f *testing.F) {
	for _, p := range []string{"a/b", "./a//b/../c", "/..", "a/../..", "", "\x00", "../x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		n, err := NormalizePath(p)
		if err != nil || n == "" {
			return
		}
		if len(n) > MaxPathLen || len(n) > len(p) || (n[0] == '/') != (p[0] == '/') {
			t.Errorf("%q becomes %q", p, n)
		}
		if again, err := NormalizePath(n); err != nil || again != n {
			t.Errorf("%q becomes %q, then %q, %v", p, n, again, err)
		}
	})
}
