package protectedfile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the size in bytes of a wrap key, and of a wrap-key file.
const KeySize = keySize

// Key is a wrap key: 128 bits under which the metadata of protected files is
// encrypted. Formatting, logging or marshalling a Key gives its fingerprint and
// never its bytes; slice it where the bytes are meant. Package fmt calls no
// methods on unexported fields, so a struct that has one of this type must not
// be formatted as a whole. The zero Key is no key and is refused everywhere.
type Key [KeySize]byte

// NewKey draws a wrap key from the operating system's random source.
func NewKey() (Key, error) {
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		return Key{}, fmt.Errorf("draw wrap key: %w", err)
	}
	return k, nil
}

// ParseKey reads the content of a wrap-key file: exactly 16 raw bytes. The
// error of something else guesses at the mistake and repeats nothing of it.
func ParseKey(raw []byte) (Key, error) {
	if len(raw) == KeySize {
		k := Key(raw)
		if k.isZero() {
			return Key{}, errors.New("parse wrap key: all 16 bytes are zero, which no random source gives")
		}
		return k, nil
	}
	trimmed := bytes.TrimRight(raw, "\r\n\x00")
	hint := ""
	switch {
	case len(raw) == 0:
		hint = ": the file is empty"
	case len(trimmed) == KeySize && len(raw) > KeySize:
		hint = ": a line end follows the 16 bytes; remove it"
	case len(trimmed) == 2*KeySize && isHex(trimmed):
		hint = ": these are 32 hex digits, the form of old manifests; decode them first, for instance with xxd -r -p"
	}
	return Key{}, fmt.Errorf("parse wrap key: %d bytes found, want exactly %d raw bytes%s", len(raw), KeySize, hint)
}

// ParseHexKey reads a wrap key written as 32 hex digits. The error repeats
// nothing of what was given.
func ParseHexKey(s string) (Key, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != KeySize {
		return Key{}, fmt.Errorf("parse wrap key: %d characters found, want exactly %d hex digits", len(s), 2*KeySize)
	}
	return ParseKey(raw)
}

func isHex(b []byte) bool {
	_, err := hex.DecodeString(string(b))
	return err == nil
}

func (k Key) isZero() bool { return k == Key{} }

// errZeroKey is what a Key that was never set meets.
var errZeroKey = errors.New("the wrap key is all zero: it was never set")

// Fingerprint identifies the key: the first 8 bytes, in hex, of its SHA-256
// under a domain of its own. It may be shown and stored, because a key is 128
// random bits that nobody can guess from a digest. A key that is not random,
// such as a password padded to 16 bytes, has no such protection.
func (k Key) Fingerprint() string {
	h := sha256.New()
	h.Write([]byte("cc wrap key fingerprint v1\x00"))
	h.Write(k[:])
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// String gives the fingerprint.
func (k Key) String() string { return "wrap-key:" + k.Fingerprint() }

// GoString gives the fingerprint.
func (k Key) GoString() string { return k.String() }

// Format gives the fingerprint, whatever the verb: %x of an array would
// otherwise print its bytes.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText gives the fingerprint; JSON uses it too.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// MarshalJSON gives the fingerprint.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// LogValue gives the fingerprint.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
