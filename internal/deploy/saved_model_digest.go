package deploy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// DigestKeyName is the file in an export directory that keys the digests of the
// models there, where no other file is named for it. TensorFlow Serving ignores
// it.
const DigestKeyName = ".digest-key"

// A digest key file has 32 random bytes when it is made here; any file of at
// least 16 bytes serves, a wrap key for one.
const (
	digestKeySize    = 32
	minDigestKeyFile = 16
	maxDigestKeyFile = 4096
)

// ErrOtherDigestKey says that a digest was made under another key, so that it
// says nothing about a file here.
var ErrOtherDigestKey = errors.New("the digest was made under another key")

// DigestKey keys the digests of plaintexts that a Terraform state keeps: whoever
// has the state alone cannot test guesses against them. It lies beside the
// plaintext, or is derived from a wrap key, so who has it has the model anyway.
//
// A nil *DigestKey makes no digests.
type DigestKey struct {
	key [sha256.Size]byte
}

// String keeps the key out of logs.
func (DigestKey) String() string { return "DigestKey(redacted)" }

// Format keeps the key out of every verb of package fmt.
func (k DigestKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// key opens the key that digests are made under, or none.
func (o PublishOptions) key(exportDir string) (*DigestKey, error) {
	switch {
	case !o.Digest:
		return nil, nil //nolint:nilnil // A nil key makes no digests.
	case o.DigestKeyFile != "":
		return OpenDigestKey(o.DigestKeyFile)
	default:
		return CreateDigestKey(filepath.Join(exportDir, DigestKeyName))
	}
}

// OpenDigestKey reads a key file. The error wraps [fs.ErrNotExist] when there
// is none.
func OpenDigestKey(path string) (*DigestKey, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("read digest key %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	if info.Size() < minDigestKeyFile || info.Size() > maxDigestKeyFile {
		return nil, fmt.Errorf("read digest key %s: it has %d bytes, want %d to %d secret ones", path, info.Size(), minDigestKeyFile, maxDigestKeyFile)
	}
	secret := make([]byte, info.Size())
	if _, err := f.ReadAt(secret, 0); err != nil {
		return nil, fmt.Errorf("read digest key %s: %w", path, pathCause(err))
	}
	return newDigestKey(secret), nil
}

// CreateDigestKey opens the key file, and draws a key if there is none. Its
// directory must exist.
func CreateDigestKey(path string) (*DigestKey, error) {
	key, err := OpenDigestKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	secret := make([]byte, digestKeySize)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("create digest key %s: %w", path, err)
	}
	err = atomicfile.WriteNew(path, secret, 0o600)
	if errors.Is(err, fs.ErrExist) { // another one was as fast
		return OpenDigestKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("create digest key %s: %w", path, err)
	}
	return newDigestKey(secret), nil
}

// newDigestKey separates this use of the secret from any other.
func newDigestKey(secret []byte) *DigestKey {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("cc saved model digest key v1"))
	return &DigestKey{key: [sha256.Size]byte(mac.Sum(nil))}
}

// ID tells keys apart without telling them: 8 hex digits.
func (k *DigestKey) ID() string {
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write([]byte("id"))
	return hex.EncodeToString(mac.Sum(nil)[:4])
}

// hash is nil for a nil key.
func (k *DigestKey) hash() hash.Hash {
	if k == nil {
		return nil
	}
	h := hmac.New(sha256.New, k.key[:])
	h.Write([]byte("model"))
	return h
}

const digestScheme = "hmac-sha256"

// format writes a digest with the key that it was made under.
func (k *DigestKey) format(h hash.Hash) string {
	if k == nil {
		return ""
	}
	return digestScheme + ":" + k.ID() + ":" + hex.EncodeToString(h.Sum(nil))
}

// Made tells whether a digest was made under this key.
func (k *DigestKey) Made(digest string) bool {
	return k != nil && strings.HasPrefix(digest, digestScheme+":"+k.ID()+":")
}
