package tlsmaterials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// KeyAlgorithm names a kind of key that every TLS peer of this product accepts.
type KeyAlgorithm string

// The key algorithms, the default first.
const (
	ECDSAP256 KeyAlgorithm = "ecdsa-p256"
	RSA3072   KeyAlgorithm = "rsa-3072"
	RSA4096   KeyAlgorithm = "rsa-4096" // what the tutorial's script makes
)

// KeyAlgorithms lists what [ParseKeyAlgorithm] accepts, the default first.
func KeyAlgorithms() []KeyAlgorithm { return []KeyAlgorithm{ECDSAP256, RSA3072, RSA4096} }

// ParseKeyAlgorithm reads the name of a key algorithm.
func ParseKeyAlgorithm(name string) (KeyAlgorithm, error) {
	if a := KeyAlgorithm(name); slices.Contains(KeyAlgorithms(), a) {
		return a, nil
	}
	names := make([]string, 0, 3)
	for _, a := range KeyAlgorithms() {
		names = append(names, string(a))
	}
	return "", fmt.Errorf("key algorithm %q is unknown: choose %s", name, strings.Join(names, ", "))
}

// PrivateKey is the secret half of a key pair. Nothing but [PrivateKey.PEM] and [PrivateKey.Signer] gives it away:
// every way of printing it says "[private key]". The zero value holds no key.
type PrivateKey struct {
	secret *secret // behind a pointer, so that fmt prints an address even where it cannot call Format
}

type secret struct{ signer crypto.Signer }

// GenerateKey makes a private key; the empty algorithm is [ECDSAP256].
func GenerateKey(algorithm KeyAlgorithm) (PrivateKey, error) {
	var signer crypto.Signer
	var err error
	switch algorithm {
	case ECDSAP256, "":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA3072:
		signer, err = rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		signer, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		_, err = ParseKeyAlgorithm(string(algorithm))
	}
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate private key: %w", err)
	}
	return PrivateKey{&secret{signer}}, nil
}

// ParsePrivateKey reads exactly one unencrypted private key in PEM: PKCS #8, or the older forms of RSA and EC keys that
// OpenSSL writes. Text around the block is refused.
func ParsePrivateKey(data []byte) (PrivateKey, error) {
	key, err := parsePrivateKey(data)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("parse private key: %w", err)
	}
	return PrivateKey{&secret{key}}, nil
}

func parsePrivateKey(data []byte) (crypto.Signer, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("found %d PEM blocks, want one", len(blocks))
	}
	block := blocks[0]
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errEncryptedKey
		}
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errEncryptedKey
		}
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errEncryptedKey
	default:
		return nil, fmt.Errorf("found a PEM block %q, want a private key", block.Type)
	}
	if err != nil {
		// The parsers' messages name structures, never contents.
		return nil, err
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	default:
		return nil, fmt.Errorf("keys of type %T are not supported: TLS peers here take ECDSA and RSA", key)
	}
}

var errEncryptedKey = errors.New("the key is encrypted with a passphrase, which TensorFlow Serving cannot open: decrypt it first, " +
	"for example with openssl pkey")

// IsZero reports whether there is no key.
func (k PrivateKey) IsZero() bool { return k.secret == nil }

// Signer gives the key to crypto/tls and crypto/x509. It is nil for the zero value.
func (k PrivateKey) Signer() crypto.Signer {
	if k.secret == nil {
		return nil
	}
	return k.secret.signer
}

// Public returns the public half, nil for the zero value.
func (k PrivateKey) Public() crypto.PublicKey {
	if k.secret == nil {
		return nil
	}
	return k.secret.signer.Public()
}

// PEM encodes the key as PKCS #8, the form that OpenSSL, BoringSSL and mbedTLS read without being told. It is nil for
// the zero value.
func (k PrivateKey) PEM() []byte {
	if k.secret == nil {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.secret.signer)
	if err != nil {
		panic("tlsmaterials: internal error: " + err.Error()) // ECDSA and RSA keys always marshal
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Matches reports whether this is the private half of the certificate's key.
func (k PrivateKey) Matches(c *x509.Certificate) bool {
	switch public := k.Public().(type) {
	case *ecdsa.PublicKey:
		return public.Equal(c.PublicKey)
	case *rsa.PublicKey:
		return public.Equal(c.PublicKey)
	default:
		return false
	}
}

// Algorithm names the kind of key as [KeyAlgorithmOf] does. It is empty for the zero value.
func (k PrivateKey) Algorithm() string {
	if k.secret == nil {
		return ""
	}
	return keyAlgorithmName(k.Public())
}

// Fingerprint identifies the public half: SHA-256 of its SubjectPublicKeyInfo, 64 hexadecimal digits. It is safe to
// show, and empty for the zero value.
func (k PrivateKey) Fingerprint() string {
	if k.secret == nil {
		return ""
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		panic("tlsmaterials: internal error: " + err.Error()) // ECDSA and RSA keys always marshal
	}
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

const redacted = "[private key]"

// String hides the key.
func (k PrivateKey) String() string { return redacted }

// GoString hides the key from %#v.
func (k PrivateKey) GoString() string { return redacted }

// Format hides the key from every verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the key from encoding/json and the like.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the key from log/slog.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// pemBlocks splits data that holds nothing but PEM blocks and white space. encoding/pem skips what it cannot read; here
// that would turn a damaged certificate into a missing one.
func pemBlocks(data []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for {
		data = []byte(strings.TrimLeft(string(data), " \t\r\n"))
		if len(data) == 0 {
			break
		}
		if !strings.HasPrefix(string(data), "-----BEGIN ") {
			return nil, fmt.Errorf("PEM block %d: found other text where \"-----BEGIN\" should be", len(blocks)+1)
		}
		block, rest := pem.Decode(data)
		// Decode looks for the next good block when the first is damaged; then the bytes used hold two beginnings.
		if block == nil || strings.Count(string(data[:len(data)-len(rest)]), "-----BEGIN ") != 1 {
			return nil, fmt.Errorf("PEM block %d is damaged", len(blocks)+1)
		}
		blocks = append(blocks, block)
		data = rest
	}
	if len(blocks) == 0 {
		return nil, errors.New("found no PEM block")
	}
	return blocks, nil
}
