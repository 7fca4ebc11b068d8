package deploy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// ErrFileChanged says that a protected file is not the one that was written.
var ErrFileChanged = errors.New("it is not the file that was written")

// SourceDigest identifies the content of a file under a wrap key, in hex; see
// [protectedfile.SourceDigest]. The error wraps [fs.ErrNotExist] when there is
// no such file.
func SourceDigest(ctx context.Context, path string, key protectedfile.Key) (string, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return "", fmt.Errorf("read source %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	digest, err := protectedfile.SourceDigest(ctx, f, info.Size(), key, 0)
	if err != nil {
		return "", fmt.Errorf("read source %s: %w", path, err)
	}
	return hex.EncodeToString(digest[:]), nil
}

// InspectEncryptedFile reads what a protected file says without its key.
func InspectEncryptedFile(path string) (protectedfile.Header, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return protectedfile.Header{}, fmt.Errorf("inspect %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	h, err := protectedfile.Inspect(f, info.Size())
	if err != nil {
		return protectedfile.Header{}, fmt.Errorf("inspect %s: %w", path, err)
	}
	return h, nil
}

// CheckEncryptedFile compares the protected file at path with the one that was
// written, by length and the digest of its first node, which vouches for all
// others. Damage behind that node is for [VerifyFile] to find. The error wraps
// [fs.ErrNotExist] when the file is missing, [ErrFileChanged] when it is another
// or not a protected file at all; with anything else it could not be read.
func CheckEncryptedFile(path string, want EncryptedFile) error {
	h, err := InspectEncryptedFile(path)
	var finding *protectedfile.Error
	switch {
	case errors.As(err, &finding):
		return fmt.Errorf("use encrypted file %s: %w: %w", path, ErrFileChanged, finding)
	case err != nil:
		return err
	case h.FileSize != want.EncryptedSize:
		return fmt.Errorf("use encrypted file %s: %w: it has %d bytes, not %d", path, ErrFileChanged, h.FileSize, want.EncryptedSize)
	case hex.EncodeToString(h.Digest[:]) != want.HeaderSHA256:
		return fmt.Errorf("use encrypted file %s: %w: the digest of its header is %s, not %s",
			path, ErrFileChanged, hex.EncodeToString(h.Digest[:]), want.HeaderSHA256)
	}
	return nil
}

// AdoptEncryptedFile authenticates a protected file that was made elsewhere and
// tells what it is, and whether it is the reproducible one of its content.
func AdoptEncryptedFile(ctx context.Context, path string, key protectedfile.Key) (file EncryptedFile, reproducible bool, err error) {
	err = withProtected(path, key, protectedfile.ReaderOptions{AllowAnyPath: true}, func(_ *os.File, r *protectedfile.Reader) error {
		digest, same, err := r.SourceDigest(ctx, key)
		if err != nil {
			return err
		}
		report := r.Report()
		reproducible = same
		file = EncryptedFile{
			EnclavePath: report.Path, Format: report.Format, KeyID: key.Fingerprint(),
			SourceDigest: hex.EncodeToString(digest[:]), HeaderSHA256: hex.EncodeToString(report.HeaderDigest[:]),
			PlaintextSize: report.Size, EncryptedSize: report.FileSize, DataNodes: report.DataNodes, HashNodes: report.HashNodes,
		}
		return nil
	})
	if err != nil {
		return EncryptedFile{}, false, fmt.Errorf("open encrypted file %s: %w", path, err)
	}
	return file, reproducible, nil
}

// DeleteEncryptedFile removes the protected file that was written. It is no
// error if it is gone; another file in its place is left alone and the error
// wraps [ErrFileChanged].
func DeleteEncryptedFile(path string, want EncryptedFile) error {
	err := CheckEncryptedFile(path, want)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("delete encrypted file %s: %w", path, pathCause(err))
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}
