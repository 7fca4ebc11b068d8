package tlsmaterials

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// SSLConfig is the message tensorflow.serving.SSLConfig. The three strings are PEM, not paths. ServerKey is secret:
// printing an SSLConfig shows none of it.
type SSLConfig struct {
	ServerKey    string // field 1
	ServerCert   string // field 2: the server's certificate, then any intermediate ones
	CustomCA     string // field 3: authorities of clients; empty means gRPC's built-in public ones
	ClientVerify bool   // field 4: require a certificate from every client
}

// Marshal checks the configuration and writes it in protocol buffer text format. Equal configurations give equal bytes:
// one literal for each line of PEM, fields in the order of their numbers, LF line ends, client_verify always written.
//
// A configuration that would not do what it says is refused: a key that does not belong to the certificate, and
// ClientVerify without CustomCA, which would admit whoever holds a certificate of any public authority.
func (c SSLConfig) Marshal() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("write ssl.cfg: %w", err)
	}
	var b strings.Builder
	writeField(&b, "server_key", c.ServerKey)
	writeField(&b, "server_cert", c.ServerCert)
	writeField(&b, "custom_ca", c.CustomCA)
	fmt.Fprintf(&b, "client_verify: %t\n", c.ClientVerify)
	return []byte(b.String()), nil
}

func (c SSLConfig) check() error {
	key, err := ParsePrivateKey([]byte(c.ServerKey))
	if err != nil {
		return fmt.Errorf("server_key: %w", err)
	}
	chain, err := ParseCertificates([]byte(c.ServerCert))
	if err != nil {
		return fmt.Errorf("server_cert: %w", err)
	}
	if !key.Matches(chain[0]) {
		return errors.New("server_key is not the private key of server_cert; a chain must begin with the server's own certificate")
	}
	if c.CustomCA == "" {
		if c.ClientVerify {
			return errors.New("client_verify without custom_ca would admit the clients of every public authority: give the authority " +
				"that issues your clients' certificates")
		}
		return nil
	}
	authorities, err := ParseCertificates([]byte(c.CustomCA))
	if err != nil {
		return fmt.Errorf("custom_ca: %w", err)
	}
	for _, a := range authorities {
		// Version 1 certificates have no basic constraints; gRPC accepts them as roots.
		if a.Version > 1 && !a.IsCA {
			return fmt.Errorf("custom_ca: %s is not a certificate authority", describeSubject(a))
		}
	}
	return nil
}

func writeField(b *strings.Builder, name, value string) {
	b.WriteString(name + ":")
	if value == "" {
		b.WriteString(" \"\"\n")
		return
	}
	b.WriteString("\n")
	for line := range strings.Lines(value) {
		b.WriteString(`  "`)
		for i := range len(line) {
			writeEscaped(b, line[i])
		}
		b.WriteString("\"\n")
	}
}

func writeEscaped(b *strings.Builder, c byte) {
	switch c {
	case '\n':
		b.WriteString(`\n`)
	case '\r':
		b.WriteString(`\r`)
	case '\t':
		b.WriteString(`\t`)
	case '"', '\\':
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		if c < 0x20 || c >= 0x7f {
			fmt.Fprintf(b, `\%03o`, c)
			return
		}
		b.WriteByte(c)
	}
}

const redactedSSLConfig = "[ssl.cfg with private key]"

// String hides the private key.
func (c SSLConfig) String() string { return redactedSSLConfig }

// GoString hides the private key from %#v.
func (c SSLConfig) GoString() string { return redactedSSLConfig }

// Format hides the private key from every verb.
func (c SSLConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedSSLConfig) }

// MarshalText hides the private key from encoding/json and the like.
func (c SSLConfig) MarshalText() ([]byte, error) { return []byte(redactedSSLConfig), nil }

// LogValue hides the private key from log/slog.
func (c SSLConfig) LogValue() slog.Value { return slog.StringValue(redactedSSLConfig) }
