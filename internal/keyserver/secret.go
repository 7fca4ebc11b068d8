package keyserver

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
)

// Encodings of a wrap key on the wire.
const (
	EncodingRaw = "raw" // 16 bytes, for Gramine 1.3 and later
	EncodingHex = "hex" // 32 hex digits and a NUL, for Gramine 1.0 to 1.2
)

// wrapKeySize is the size of a wrap key in bytes: an AES-128 key.
const wrapKeySize = keysource.Size

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

// sources names the fields that say where the key is.
func (s *SecretConfig) sources() []string {
	var given []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"file", s.File != ""}, {"credential", s.Credential != ""}, {"environment", s.Environment != ""}, {"command", len(s.Command) > 0}} {
		if f.set {
			given = append(given, f.name)
		}
	}
	return given
}

// source is where the key is. The configuration has been checked.
func (s *SecretConfig) source(environ *keysource.Environ) keysource.Source {
	form := keysource.Form(s.Form)
	switch {
	case s.Credential != "":
		return keysource.Credential{Name: s.Credential, Form: form}
	case s.Environment != "":
		return environ.Variable(s.Environment, form)
	case len(s.Command) > 0:
		return keysource.Command{
			Argv: s.Command, Form: form, Timeout: time.Duration(s.CommandTimeout), PassEnvironment: s.PassEnvironment,
		}
	default:
		return keysource.File{Path: s.File, Form: form, AllowReadableByOthers: s.AllowReadableByOthers}
	}
}

// loadSecret reads a wrap key. The error text never repeats what is there.
func loadSecret(ctx context.Context, conf *SecretConfig, environ *keysource.Environ, fingerprint func(key [wrapKeySize]byte) string) (*Secret, error) {
	var key [wrapKeySize]byte
	defer clear(key[:])
	if err := conf.source(environ).Read(ctx, &key); err != nil {
		return nil, err
	}
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
