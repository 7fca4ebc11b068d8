// Package configsign lets a key server's configuration be signed, so that writing the file does not suffice to release
// keys.
//
// The signature is a file of its own beside the configuration, FILE.sig: a signed note (golang.org/x/mod/sumdb/note, Ed25519)
// whose text names the SHA-256 of the configuration and the time of signing:
//
//	ccctl key server configuration
//	sha256 5f3c...
//	time 2026-11-02T10:00:00Z
//
//	- keys.example.com kHk...
//
// The key that verifies it is given to the server by who starts it, and is not in the file that it protects.
//
// Signed is what the configuration says, and not what the files it names hold: whoever can write to the file of a wrap
// key, of the server's certificate or of allow_trusted_root can replace those. Nor does a signature grow old: an earlier configuration
// with its signature is good again for whoever can write both files; the server logs and audits by whom and when what it has
// in force was signed.
package configsign

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Extension is what the name of a signature has more than that of its configuration.
const Extension = ".sig"

// header is the first line of a signature's text; no other note of this project begins like that.
const header = "ccctl key server configuration"

// MaxSize bounds a signature, in bytes.
const MaxSize = 16 << 10

// ErrNotSigned is for configurations whose signature is missing, is not good, or is of something else.
var ErrNotSigned = errors.New("the configuration is not signed by a key that this server was given")

// Signature says who signed a configuration, and when by their clock.
type Signature struct {
	Signer string
	Time   time.Time
}

// Sign signs the text of a configuration.
func Sign(config []byte, signer note.Signer, at time.Time) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: text(config, at.UTC().Format(time.RFC3339))}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign configuration: %w", err)
	}
	return signed, nil
}

func text(config []byte, at string) string {
	sum := sha256.Sum256(config)
	return header + "\nsha256 " + hex.EncodeToString(sum[:]) + "\ntime " + at + "\n"
}

// Verifier holds the keys whose signatures are good.
type Verifier struct{ keys note.Verifiers }

// NewVerifier reads the keys that GenerateKey has made, one at least. A configuration is good when one of them has signed
// it.
func NewVerifier(keys ...string) (*Verifier, error) {
	list := make([]note.Verifier, 0, len(keys))
	for _, key := range keys {
		v, err := note.NewVerifier(strings.TrimSpace(key))
		if err != nil {
			// Not repeated: it may be the signing key, by mistake.
			return nil, errors.New("read verification key: it is not a key as 'ccctl keyserver gen-key' prints it")
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, errors.New("read verification keys: there is none")
	}
	return &Verifier{note.VerifierList(list...)}, nil
}

// Verify checks the signature of a configuration. The error wraps ErrNotSigned.
func (v *Verifier) Verify(config, signature []byte) (*Signature, error) {
	n, err := note.Open(signature, v.keys)
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		by := make([]string, 0, len(unverified.Note.UnverifiedSigs))
		for _, s := range unverified.Note.UnverifiedSigs {
			by = append(by, fmt.Sprintf("%s (key %08x)", s.Name, s.Hash))
		}
		return nil, fmt.Errorf("%w: it is signed by %s", ErrNotSigned, strings.Join(by, ", "))
	case err != nil:
		return nil, fmt.Errorf("%w: the signature is no good: %w", ErrNotSigned, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != header {
		return nil, fmt.Errorf("%w: what is signed is something else", ErrNotSigned)
	}
	stamp := strings.TrimPrefix(lines[2], "time ")
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return nil, fmt.Errorf("%w: what is signed is something else", ErrNotSigned)
	}
	if n.Text != text(config, stamp) {
		return nil, fmt.Errorf("%w: the signature of %s is of another version of it", ErrNotSigned, at.UTC().Format(time.RFC3339))
	}
	return &Signature{Signer: n.Sigs[0].Name, Time: at}, nil
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9./_-]{0,199}$`)

// GenerateKey makes a signing key under a name that tells signers apart. The first text is secret.
func GenerateKey(name string) (signer, verifier string, err error) {
	if !keyName.MatchString(name) {
		return "", "", fmt.Errorf("make signing key: the name %q is not made of letters, digits, dots, hyphens and slashes", name)
	}
	signer, verifier, err = note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", "", fmt.Errorf("make signing key: %w", err)
	}
	return signer, verifier, nil
}

// ParseSigner reads a secret key as GenerateKey makes it. The error never repeats the text.
func ParseSigner(key string) (note.Signer, error) {
	s, err := note.NewSigner(strings.TrimSpace(key))
	if err != nil {
		return nil, errors.New("read signing key: it is not a key as 'ccctl keyserver gen-key' writes it")
	}
	return s, nil
}
