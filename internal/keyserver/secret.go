package keyserver

import (
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
)

// Encodings of a wrap key on the wire.
const (
	EncodingRaw = "raw" // 16 bytes, for Gramine 1.3 and later
	EncodingHex = "hex" // 32 hex digits and a NUL, for Gramine 1.0 to 1.2
)

// wrapKeySize is the size of a wrap key in bytes: an AES-128 key.
const wrapKeySize = 16

const redacted = "[redacted]"

// Secret is a wrap key in the form in which it is sent. It shows itself by name alone, however it is printed.
type Secret struct {
	name        string
	encoding    string
	fingerprint string
	wire        []byte
}

// Name is the secret's name in the configuration.
func (s *Secret) Name() string { return s.name }

// Fingerprint tells keys apart and is safe to show; empty when the server was given no way to compute it.
func (s *Secret) Fingerprint() string { return s.fingerprint }

// String implements fmt.Stringer without the key.
func (s *Secret) String() string { return s.name + " " + redacted }

// GoString implements fmt.GoStringer without the key.
func (s *Secret) GoString() string { return "keyserver.Secret{" + s.name + " " + redacted + "}" }

// Format implements fmt.Formatter without the key: verbs such as %x ignore String.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalJSON implements json.Marshaler without the key.
func (s *Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer without the key.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// destroy overwrites the key.
func (s *Secret) destroy() {
	clear(s.wire)
	runtime.KeepAlive(s)
}

// loadSecret reads a wrap key. The error text never repeats what the file holds.
func loadSecret(conf *SecretConfig, fingerprint func(key [wrapKeySize]byte) string) (*Secret, error) {
	f, err := os.Open(conf.File)
	if err != nil {
		return nil, fmt.Errorf("open wrap key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read wrap key: %w", err)
	}
	if err := checkMode(info, conf.AllowReadableByOthers); err != nil {
		return nil, fmt.Errorf("read wrap key %s: %w", conf.File, err)
	}
	// One byte more than a key, to notice a longer file.
	var buf [wrapKeySize + 1]byte
	defer clear(buf[:])
	n, err := io.ReadFull(f, buf[:])
	switch {
	case err == nil:
		return nil, fmt.Errorf("read wrap key %s: it is longer than %d bytes; a wrap key is %d raw bytes, not hex or base64 text",
			conf.File, wrapKeySize, wrapKeySize)
	case n != wrapKeySize:
		return nil, fmt.Errorf("read wrap key %s: found %d bytes, want %d raw bytes", conf.File, n, wrapKeySize)
	}
	key := [wrapKeySize]byte(buf[:wrapKeySize])
	defer clear(key[:])
	s := &Secret{name: conf.Name, encoding: conf.Encoding}
	if fingerprint != nil {
		s.fingerprint = fingerprint(key)
	}
	switch conf.Encoding {
	case EncodingRaw:
		s.wire = append(make([]byte, 0, wrapKeySize), key[:]...)
	case EncodingHex:
		s.wire = make([]byte, hex.EncodedLen(wrapKeySize)+1) // the last byte stays NUL
		hex.Encode(s.wire, key[:])
	default:
		return nil, fmt.Errorf("load secret %s: encoding is %q", conf.Name, conf.Encoding)
	}
	return s, nil
}

// checkMode refuses a key that every user of the machine can read. Its group may read it: that is how an orchestrator
// hands a file to a server which is not root.
func checkMode(info fs.FileInfo, allow bool) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	if perm := info.Mode().Perm(); runtime.GOOS != "windows" && perm&0o007 != 0 && !allow {
		return fmt.Errorf("its mode is %#o, so every user of this machine can read or replace it; run chmod 0600", perm)
	}
	return nil
}
