package protocol

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// canary is a wrap key that must not be left anywhere.
var canary = []byte("canary-wrap-key!")

func TestReadRequest(t *testing.T) {
	const good = "SECRET_PROVISION_RA_TLS_REQUEST_V1\x00"
	for _, tt := range []struct{ name, sent, err string }{
		{"good", good, ""},
		{"good and more", good + "x", ""},
		{"empty", "", "read request: the client closed after 0 of 35 bytes"},
		{"cut", good[:20], "read request: the client closed after 20 of 35 bytes"},
		{"without NUL", good[:34], "read request: the client closed after 34 of 35 bytes"},
		{"newline for NUL", good[:34] + "\n", ErrBadRequest.Error()},
		{"version 2", strings.Replace(good, "V1", "V2", 1), ErrBadRequest.Error()},
		{"lower case", strings.ToLower(good), ErrBadRequest.Error()},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", ErrBadRequest.Error()},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.sent), iotest.OneByteReader(strings.NewReader(tt.sent)), iotest.DataErrReader(strings.NewReader(tt.sent))} {
			err := ReadRequest(r)
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
			}
		}
	}
	broken := errors.New("cable cut")
	if err := ReadRequest(io.MultiReader(strings.NewReader(good[:3]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

func TestReadRequestTellsAtTheFirstWrongByte(t *testing.T) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- ReadRequest(r) }()
	if _, err := w.Write([]byte("SECRET_PROVISION_RA_TLS_RESPONSE")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrBadRequest) {
		t.Errorf("error is %v", err)
	}
}

func TestReadRequestHoweverItIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []io.Reader
		for rest := Request; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "record")
			parts = append(parts, strings.NewReader(rest[:n]))
			rest = rest[n:]
		}
		if err := ReadRequest(io.MultiReader(parts...)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWriteResponse(t *testing.T) {
	var out bytes.Buffer
	if err := WriteResponse(&out, canary); err != nil {
		t.Fatal(err)
	}
	want := append([]byte("SECRET_PROVISION_RA_TLS_RESPONSE_V1:\x00\x00\x00\x00\x10"), canary...)
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("sent %q, want %q", out.Bytes(), want)
	}
	// The length is big-endian.
	out.Reset()
	if err := WriteResponse(&out, make([]byte, 0x01020304)); err != nil {
		t.Fatal(err)
	}
	if got := out.Bytes()[37:41]; !bytes.Equal(got, []byte{1, 2, 3, 4}) {
		t.Errorf("length is % x", got)
	}
	if err := WriteResponse(&out, nil); err == nil || err.Error() != "send secret: its length is 0 bytes, want 1 to 2147483647" {
		t.Errorf("an empty secret: %v", err)
	}
	broken := errors.New("cable cut")
	if err := WriteResponse(brokenWriter{broken}, canary); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	} else if strings.Contains(err.Error(), string(canary)) {
		t.Error("the error shows the key")
	}
}

// TestWriteResponseLeavesNoCopy looks into the buffer that was written from.
func TestWriteResponseLeavesNoCopy(t *testing.T) {
	var w keeper
	if err := WriteResponse(&w, canary); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(w.kept, canary) {
		t.Error("the message buffer still holds the key")
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// keeper keeps what it was given, and not a copy, as no writer should.
type keeper struct{ kept []byte }

func (k *keeper) Write(p []byte) (int, error) {
	k.kept = p
	return len(p), nil
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(Request))
	f.Add([]byte(Request[:10]))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := iotest.OneByteReader(bytes.NewReader(sent))
		if rand.N(2) == 0 {
			r = bytes.NewReader(sent)
		}
		if err := ReadRequest(r); (err == nil) != bytes.HasPrefix(sent, []byte(Request)) {
			t.Fatalf("%q: %v", sent, err)
		}
	})
}
