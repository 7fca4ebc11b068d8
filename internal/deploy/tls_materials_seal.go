package deploy

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// SSLConfigSeal says how ssl.cfg is encrypted where it is kept encrypted only. The server's private key is made in
// memory, goes into the protected file and is forgotten: it never lies on a disk in clear. Nobody can write another
// ssl.cfg with it, so whatever changes ssl.cfg takes a new server certificate.
type SSLConfigSeal struct {
	EnclavePath string               // under which Gramine opens the file
	Format      protectedfile.Format // version 1 when zero
	Key         protectedfile.Key    // needed when the server's certificate is issued
	KeyPending  bool                 // the key will be there when it is needed
	KeyOpen     bool                 // the key may turn out to be another one than before
}

func (s *SSLConfigSeal) format() protectedfile.Format {
	if s.Format == 0 {
		return protectedfile.FormatV1
	}
	return s.Format
}

// hasKey tells whether the wrap key is at hand.
func (s *SSLConfigSeal) hasKey() bool { return s.Key != protectedfile.Key{} }

func (s TLSSpec) validateSeal() error {
	if !s.SSLConfig {
		return errors.New("an encrypted ssl.cfg is asked for, and no ssl.cfg")
	}
	if _, err := protectedfile.EmbeddablePath(s.Seal.EnclavePath); err != nil {
		return fmt.Errorf("enclave path of ssl.cfg: %w", err)
	}
	return nil
}

// configFile is the file that ssl.cfg is in.
func (s TLSSpec) configFile() string {
	if s.Seal != nil {
		return tlsmaterials.SealedSSLConfigFile
	}
	return tlsmaterials.SSLConfigFile
}

// seal encrypts the ssl.cfg of a set whose server's certificate has just been issued, and takes the server's private key
// out of the set. Without a seal there is nothing to do.
func (s TLSSpec) seal(m *tlsmaterials.Materials) ([]tlsmaterials.File, error) {
	if s.Seal == nil {
		return nil, nil
	}
	if !s.Seal.hasKey() {
		return nil, wrapKeyNotAtHand(s)
	}
	plain, err := m.MarshalSSLConfig()
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var out memory
	sum, err := protectedfile.Encrypt(context.Background(), &out, bytes.NewReader(plain), s.Seal.Key, protectedfile.WriterOptions{
		Path: s.Seal.EnclavePath, Format: s.Seal.format(), Size: int64(len(plain)), Jobs: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("encrypt ssl.cfg: %w", err)
	}
	m.Sealed = &tlsmaterials.SealedSSLConfig{
		EnclavePath: sum.Path, Format: int(sum.Format), KeyID: s.Seal.Key.Fingerprint(), HeaderSHA256: hex.EncodeToString(sum.HeaderDigest[:]), Size: sum.FileSize,
	}
	m.Leaf(tlsmaterials.ServerPlace).Key = tlsmaterials.PrivateKey{}
	return []tlsmaterials.File{{Path: tlsmaterials.SealedSSLConfigFile, Data: out}}, nil
}

// memory is a file in memory for a writer that goes back to its beginning.
type memory []byte

// WriteAt implements [io.WriterAt].
func (b *memory) WriteAt(p []byte, at int64) (int, error) {
	if end := at + int64(len(p)); end > int64(len(*b)) {
		*b = append(*b, make([]byte, end-int64(len(*b)))...)
	}
	return copy((*b)[at:], p), nil
}

func wrapKeyNotAtHand(spec TLSSpec) error {
	return &Error{Summary: "Wrap key missing",
		Err:    fmt.Errorf("encrypt ssl.cfg in %s: the wrap key is not at hand", spec.Directory),
		Remedy: "The server gets a new certificate, whose private key is kept in the encrypted ssl.cfg alone. Have the wrap key where the configuration says that it is."}
}

// sealReason says why the server needs a new certificate for the sake of how ssl.cfg is kept, or nothing.
func sealReason(spec TLSSpec, was *tlsmaterials.SealedSSLConfig) string {
	seal := spec.Seal
	switch {
	case seal == nil && was == nil:
		return ""
	case seal == nil:
		return "the private key of the present one is in the encrypted ssl.cfg alone"
	case was == nil:
		return "the private key of the present one lies in clear"
	case int(seal.format()) != was.Format || !sameEnclavePath(seal.EnclavePath, was.EnclavePath):
		return "ssl.cfg is encrypted for another path or in another format"
	case seal.KeyOpen || seal.hasKey() && seal.Key.Fingerprint() != was.KeyID:
		return "the wrap key of ssl.cfg changes"
	default:
		return ""
	}
}

func sameEnclavePath(a, b string) bool {
	x, errX := protectedfile.NormalizePath(a)
	y, errY := protectedfile.NormalizePath(b)
	return errX == nil && errY == nil && x == y
}

// adoptSealed completes what is known of an encrypted ssl.cfg that was found in a directory: if the wrap key opens it
// under the wished path, and it belongs to the set, it is what is wished.
func adoptSealed(spec TLSSpec, set *tlsmaterials.Materials) *tlsmaterials.SealedSSLConfig {
	found := set.Sealed
	if found == nil || found.KeyID != "" || spec.Seal == nil || !spec.Seal.hasKey() {
		return found
	}
	var text bytes.Buffer
	report, err := DecryptTo(context.Background(), &text, DecryptSpec{
		Source: filepath.Join(spec.Directory, tlsmaterials.SealedSSLConfigFile), Key: spec.Seal.Key, Options: protectedfile.ReaderOptions{Path: spec.Seal.EnclavePath},
	})
	defer clear(text.Bytes())
	if err != nil {
		return found
	}
	config, err := tlsmaterials.ParseSSLConfig(text.Bytes())
	if err != nil || config.CheckAgainst(set) != nil {
		return found
	}
	return &tlsmaterials.SealedSSLConfig{
		EnclavePath: report.Path, Format: int(report.Format), KeyID: spec.Seal.Key.Fingerprint(), HeaderSHA256: hex.EncodeToString(report.HeaderDigest[:]), Size: report.FileSize,
	}
}

// sealedSSLConfig compares an encrypted ssl.cfg with the one that was written, which takes no key.
func (w *tlsWatch) sealedSSLConfig() {
	const file = tlsmaterials.SealedSSLConfigFile
	sealed := w.o.Set.Sealed
	err := CheckEncryptedFile(filepath.Join(w.dir, file), EncryptedFile{HeaderSHA256: sealed.HeaderSHA256, EncryptedSize: sealed.Size})
	if errors.Is(err, fs.ErrNotExist) {
		w.problem(file, TLSMissing, "")
		return
	}
	w.o.Absent = false
	switch {
	case errors.Is(err, ErrFileChanged):
		w.problem(file, TLSChanged, "it is not the protected file that was written")
	case err != nil:
		w.problem(file, TLSUnreadable, pathCause(err).Error())
	}
}

// inspectSealed fills in what shows of an encrypted ssl.cfg without its key.
func inspectSealed(dir string, sealed *tlsmaterials.SealedSSLConfig) error {
	h, err := InspectEncryptedFile(filepath.Join(dir, tlsmaterials.SealedSSLConfigFile))
	if err != nil {
		return err
	}
	sealed.HeaderSHA256, sealed.Size = hex.EncodeToString(h.Digest[:]), h.FileSize
	return nil
}

// otherForm lists the files that a set has only if its ssl.cfg is kept in the other form.
func otherForm(sealed bool) []string {
	if sealed {
		return []string{tlsmaterials.ServerKeyFile, tlsmaterials.SSLConfigFile}
	}
	return []string{tlsmaterials.SealedSSLConfigFile}
}

// removeOtherForm removes what a set that was replaced whole has left.
func removeOtherForm(spec TLSSpec) error {
	for _, file := range otherForm(spec.Seal != nil) {
		if err := os.Remove(filepath.Join(spec.Directory, filepath.FromSlash(file))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", file, pathCause(err))
		}
	}
	return nil
}

// tlsPaths lists the files of a set.
func tlsPaths(m *tlsmaterials.Materials) []string {
	paths := tlsmaterials.Paths(m.Places(), m.SSLConfig)
	if m.Sealed != nil {
		paths = tlsmaterials.SealedPaths(paths)
	}
	return paths
}
