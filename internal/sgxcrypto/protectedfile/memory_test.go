package protectedfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

// TestMemory goes through all pairs of memory and something that hides it: what
// is encrypted and decrypted in place must be what is copied.
func TestMemory(t *testing.T) {
	const skipped = 5
	all := stream("memory", skipped+boundarySizes[len(boundarySizes)-1])
	for _, size := range boundarySizes {
		before := bytes.Clone(all)
		plain := all[skipped:][:size]
		fileSize, err := FileSize(int64(size))
		if err != nil {
			t.Fatal(err)
		}
		for name, src := range map[string]io.Reader{
			"memory":     Memory(plain).Reader(),
			"section":    io.NewSectionReader(Memory(all), skipped, int64(size)),
			"positioned": io.NewSectionReader(Memory(all), skipped-2, int64(size)+2),
			"copied":     bytes.NewReader(plain),
		} {
			if name == "positioned" {
				if _, err := io.CopyN(io.Discard, src, 2); err != nil {
					t.Fatal(err)
				}
			}
			// What lies behind the file is not for it to touch.
			room := bytes.Repeat([]byte{0xa5}, int(fileSize)+64)
			file := Memory(room[:fileSize])
			if _, err := Encrypt(t.Context(), file, src, testKey, WriterOptions{Path: testPath, Size: int64(size), Jobs: 3}); err != nil {
				t.Fatalf("%d bytes, %s: %v", size, name, err)
			}
			out := Memory(make([]byte, size))
			if _, err := Decrypt(t.Context(), out, file, fileSize, testKey, ReaderOptions{Path: testPath, Strict: true, Jobs: 3}); err != nil || !bytes.Equal(out, plain) {
				t.Errorf("%d bytes, %s: memory to memory: the plaintext does not come back: %v", size, name, err)
			}
			clear(out)
			if _, err := Decrypt(t.Context(), out, bytes.NewReader(file), fileSize, testKey, ReaderOptions{Path: testPath, Strict: true}); err != nil || !bytes.Equal(out, plain) {
				t.Errorf("%d bytes, %s: to memory: the plaintext does not come back: %v", size, name, err)
			}
			if got := decrypted(t, file, ReaderOptions{}); !bytes.Equal(got, plain) {
				t.Errorf("%d bytes, %s: the plaintext does not come back", size, name)
			}
			if _, err := Verify(t.Context(), file, fileSize, testKey, ReaderOptions{Path: testPath, Strict: true}); err != nil {
				t.Errorf("%d bytes, %s: %v", size, name, err)
			}
			if !bytes.Equal(room[fileSize:], bytes.Repeat([]byte{0xa5}, 64)) {
				t.Errorf("%d bytes, %s: something was written behind the file", size, name)
			}
		}
		if !bytes.Equal(all, before) {
			t.Fatalf("%d bytes: the plaintext was changed", size)
		}
	}
}

// TestMemoryReproducible checks that memory makes no difference to what a file
// is.
func TestMemoryReproducible(t *testing.T) {
	plain := stream("memory", inlineSize+3*groupData+9)
	want := &memory{}
	if _, err := EncryptReproducible(t.Context(), want, bytes.NewReader(plain), int64(len(plain)), testKey, WriterOptions{Path: testPath}); err != nil {
		t.Fatal(err)
	}
	file := Memory(make([]byte, len(want.b)))
	if _, err := EncryptReproducible(t.Context(), file, Memory(plain), int64(len(plain)), testKey, WriterOptions{Path: testPath}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, want.b) {
		t.Error("another file")
	}
}

// TestMemoryTampered checks that a damaged node is named, and that neither it
// nor the file is changed.
func TestMemoryTampered(t *testing.T) {
	plain := stream("memory", inlineSize+2*groupData)
	file := encrypted(t, plain, WriterOptions{})
	for _, node := range []int64{1, 2, 50, 97, 98, 99, 194} {
		bad := bytes.Clone(file)
		bad[node*NodeSize+77] ^= 8
		before := bytes.Clone(bad)
		out := Memory(make([]byte, len(plain)))
		_, derr := Decrypt(t.Context(), out, Memory(bad), int64(len(bad)), testKey, ReaderOptions{Path: testPath})
		_, verr := Verify(t.Context(), Memory(bad), int64(len(bad)), testKey, ReaderOptions{Path: testPath})
		for _, err := range []error{derr, verr} {
			var finding *Error
			if !errors.As(err, &finding) || finding.Node != node || finding.Offset != node*NodeSize {
				t.Errorf("node %d: %v", node, err)
			}
		}
		if !bytes.Equal(bad, before) {
			t.Errorf("node %d: the file was changed", node)
		}
		if node == 1 || node == 98 {
			continue
		}
		data := node - 2 - (node-1)/groupNodes
		if at := inlineSize + data*NodeSize; !bytes.Equal(out[at:][:NodeSize], make([]byte, NodeSize)) {
			t.Errorf("node %d: its plaintext was given although it does not authenticate", node)
		}
	}
}

// TestMemoryShared passes the same memory for both sides, which is a mistake
// and not a reason to panic.
func TestMemoryShared(t *testing.T) {
	const size = inlineSize + 2*groupData
	for _, shift := range []int{0, 100, NodeSize, groupData} {
		shared := Memory(stream("shared", 2*size))
		_, err := Encrypt(t.Context(), shared, io.NewSectionReader(shared, int64(shift), size), testKey, WriterOptions{Path: testPath, Size: size, Jobs: 1})
		if err != nil {
			t.Errorf("encrypting, %d bytes apart: %v", shift, err)
		}
		file := Memory(encrypted(t, make([]byte, size), WriterOptions{}))
		if _, err := Decrypt(t.Context(), file[min(shift, len(file)-size):], file, int64(len(file)), testKey, ReaderOptions{Path: testPath, Jobs: 1}); err != nil {
			var finding *Error
			if !errors.As(err, &finding) {
				t.Errorf("decrypting, %d bytes apart: %v", shift, err)
			}
		}
	}
}

func TestMemoryBounds(t *testing.T) {
	m := Memory("0123456789")
	var p [4]byte
	for _, tc := range []struct {
		off        int64
		n, written int
		err        error
	}{
		{0, 4, 4, nil}, {6, 4, 4, nil}, {8, 2, 2, io.EOF}, {10, 0, 0, io.EOF}, {11, 0, 0, io.EOF}, {-1, 0, 0, io.EOF},
	} {
		if n, err := m.ReadAt(p[:], tc.off); n != tc.n || !errors.Is(err, tc.err) {
			t.Errorf("read at %d: %d bytes, %v", tc.off, n, err)
		}
		want := tc.err
		if want != nil {
			want = io.ErrShortWrite
		}
		if n, err := m.WriteAt(p[:], tc.off); n != tc.written || !errors.Is(err, want) {
			t.Errorf("write at %d: %d bytes, %v", tc.off, n, err)
		}
	}
	plain := stream("bounds", inlineSize+groupData+1)
	file := encrypted(t, plain, WriterOptions{})
	for _, room := range []int{0, 100, inlineSize + 10, len(plain) - 1} {
		if _, err := Decrypt(t.Context(), make(Memory, room), Memory(file), int64(len(file)), testKey, ReaderOptions{Path: testPath}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("decrypting to %d bytes: %v", room, err)
		}
	}
	for _, room := range []int{0, NodeSize, len(file) - 1} {
		if _, err := Encrypt(t.Context(), make(Memory, room), Memory(plain).Reader(), testKey, WriterOptions{Path: testPath, Size: int64(len(plain))}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("encrypting to %d bytes: %v", room, err)
		}
	}
	for _, tc := range []struct {
		a, b []byte
		want bool
	}{
		{m[:4], m[4:], false}, {m[:5], m[4:], true}, {m, m[3:4], true}, {m[3:4], m, true}, {m[:0], m, false}, {m, bytes.Clone(m), false},
	} {
		if got := overlap(tc.a, tc.b); got != tc.want {
			t.Errorf("overlap of %s: %v", fmt.Sprint(len(tc.a), len(tc.b)), got)
		}
	}
}
