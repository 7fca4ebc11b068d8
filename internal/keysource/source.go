package keysource

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

// Size is the size of a wrap key in bytes: an AES-128 key.
const Size = 16

// Source is where a wrap key is kept.
type Source interface {
	// Read writes the key into the caller's array, which is all zero after an error.
	Read(ctx context.Context, key *[Size]byte) error
	// Files are those whose change means that there may be another key; none when only reading tells.
	Files() []string
	// String names the source, for a person to find it, and shows nothing of the key.
	String() string
}

// UnreachableError is the error of a place that did not answer, or is too busy to: the same may go well later.
type UnreachableError struct {
	Place string // such as an address
	Err   error
}

// Error implements error.
func (e *UnreachableError) Error() string { return fmt.Sprintf("reach %s: %v", e.Place, e.Err) }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Form is how a key is written.
type Form string

// Forms of a key.
const (
	Raw    Form = "raw"    // 16 bytes and nothing else
	Hex    Form = "hex"    // 32 hex digits of either case, perhaps a line end
	Base64 Form = "base64" // 24 characters of RFC 4648's standard alphabet with padding, perhaps a line end
)

// Forms are all of them.
func Forms() []Form { return []Form{Raw, Hex, Base64} }

// maxText is more than any form takes, in bytes: whoever reads that much knows that it is too long.
const maxText = 64

// decode reads a key in a form. The error repeats nothing of what was given.
func (f Form) decode(text []byte, key *[Size]byte) error {
	var err error
	switch f {
	case Raw:
		err = decodeRaw(text, key)
	case Hex:
		line := trimLineEnd(text)
		if len(line) != hex.EncodedLen(Size) {
			err = fmt.Errorf("found %s, want %d hex digits", count(len(text), "character"), hex.EncodedLen(Size))
		} else if _, derr := hex.Decode(key[:], line); derr != nil {
			err = fmt.Errorf("found %d characters that are not all hex digits", len(line))
		}
	case Base64:
		line := trimLineEnd(text)
		var out [Size + 2]byte // what the decoder may write to
		defer clear(out[:])
		if len(line) != base64.StdEncoding.EncodedLen(Size) {
			err = fmt.Errorf("found %s, want %d of base64 with padding", count(len(text), "character"), base64.StdEncoding.EncodedLen(Size))
		} else if n, derr := base64.StdEncoding.Strict().Decode(out[:], line); derr != nil || n != Size {
			err = fmt.Errorf("found %d characters that are not base64 of %d bytes", len(line), Size)
		} else {
			copy(key[:], out[:])
		}
	default:
		err = fmt.Errorf("%q is not a form of a key", string(f))
	}
	if err == nil && *key == [Size]byte{} {
		err = fmt.Errorf("all %d bytes are zero, which no random source gives", Size)
	}
	if err != nil {
		clear(key[:])
	}
	return err
}

// DecodeText reads a key that is written as hex digits or as base64, perhaps with a line end: no text of the right length is
// both. The array is all zero after an error, which repeats nothing of the text.
func DecodeText(text []byte, key *[Size]byte) error {
	switch len(trimLineEnd(text)) {
	case hex.EncodedLen(Size):
		return Hex.decode(text, key)
	case base64.StdEncoding.EncodedLen(Size):
		return Base64.decode(text, key)
	default:
		clear(key[:])
		return fmt.Errorf("found %s, want %d of base64 or %d hex digits", count(len(text), "character"), base64.StdEncoding.EncodedLen(Size), hex.EncodedLen(Size))
	}
}

func decodeRaw(text []byte, key *[Size]byte) error {
	switch {
	case len(text) > Size:
		return fmt.Errorf("it is longer than %d bytes; a wrap key is %d raw bytes, not hex or base64 text", Size, Size)
	case len(text) != Size:
		return fmt.Errorf("found %s, want %d raw bytes", count(len(text), "byte"), Size)
	}
	copy(key[:], text)
	return nil
}

// trimLineEnd takes one line end off: programs that print text end it with one.
func trimLineEnd(text []byte) []byte {
	text = bytes.TrimSuffix(text, []byte("\n"))
	return bytes.TrimSuffix(text, []byte("\r"))
}

func count(n int, what string) string {
	if n >= maxText {
		return fmt.Sprintf("at least %d %ss", n, what)
	}
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

var errTooLong = errors.New("there is more than a key")
