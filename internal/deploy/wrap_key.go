package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// ErrOtherKey says that a wrap-key file holds a key, but not the one that was
// expected there.
var ErrOtherKey = errors.New("the file holds another key")

// wrapKeyMode lets nobody but the owner read a key, and wrapKeyDirMode nobody
// else list the directory made for it.
const (
	wrapKeyMode    fs.FileMode = 0o600
	wrapKeyDirMode fs.FileMode = 0o700
)

// maxWrapKeyFile is the size in bytes above which a file is not even read to
// say what is wrong with it.
const maxWrapKeyFile = 4096

// WrapKeyInfo is what may be shown of a wrap-key file.
type WrapKeyInfo struct {
	Fingerprint string      // of the key
	Mode        fs.FileMode // permission bits of the file
}

// Exposed tells that others than the owner may read or replace the key.
// Windows has no such bits, so there it is always false.
func (i WrapKeyInfo) Exposed() bool {
	return runtime.GOOS != "windows" && i.Mode.Perm()&0o077 != 0
}

// CreateWrapKey draws a key and keeps it in a new file that only the owner may
// read, making missing directories. It returns the key's fingerprint. A file
// that exists is never overwritten: the error then wraps [fs.ErrExist].
func CreateWrapKey(path string) (string, error) {
	key, err := protectedfile.NewKey()
	if err != nil {
		return "", fmt.Errorf("create wrap key %s: %w", path, err)
	}
	if err := writeWrapKey(path, key); err != nil {
		return "", fmt.Errorf("create wrap key %s: %w", path, err)
	}
	return key.Fingerprint(), nil
}

// OpenWrapKey reads the key kept at path. The error wraps [fs.ErrNotExist]
// when there is no such file.
func OpenWrapKey(path string) (protectedfile.Key, error) {
	key, _, err := readWrapKey(path)
	return key, err
}

// InspectWrapKey reports which key is kept at path, with the errors of
// [OpenWrapKey].
func InspectWrapKey(path string) (WrapKeyInfo, error) {
	key, mode, err := readWrapKey(path)
	if err != nil {
		return WrapKeyInfo{}, err
	}
	return WrapKeyInfo{Fingerprint: key.Fingerprint(), Mode: mode}, nil
}

// CheckWrapKey is [InspectWrapKey] for a file that must hold the key with the
// given fingerprint; the error of another key wraps [ErrOtherKey].
func CheckWrapKey(path, fingerprint string) (WrapKeyInfo, error) {
	info, err := InspectWrapKey(path)
	if err == nil && info.Fingerprint != fingerprint {
		err = fmt.Errorf("use wrap key %s: %w: its fingerprint is %s, not %s", path, ErrOtherKey, info.Fingerprint, fingerprint)
	}
	return info, err
}

// PlanWrapKeyMove tells what would keep [MoveWrapKey] from working, and
// touches nothing.
func PlanWrapKeyMove(from, to, fingerprint string) error {
	_, err := CheckWrapKey(to, fingerprint)
	if err == nil { // moved by hand, or by a run that was interrupted
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) { // whatever it is, it is not ours to replace
		return fmt.Errorf("move wrap key to %s: %w: %w", to, fs.ErrExist, err)
	}
	_, err = CheckWrapKey(from, fingerprint)
	return err
}

// MoveWrapKey moves the key with the given fingerprint to another file. The
// new file is complete and durable before the old one goes, so that at every
// moment at least one of them has the key; a move that was interrupted can be
// repeated. A file with other content in the way is left alone and the error
// wraps [fs.ErrExist].
func MoveWrapKey(from, to, fingerprint string) error {
	if err := PlanWrapKeyMove(from, to, fingerprint); err != nil {
		return err
	}
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		key, err := OpenWrapKey(from)
		if err != nil {
			return err
		}
		if err := writeWrapKey(to, key); err != nil {
			return fmt.Errorf("move wrap key to %s: %w", to, err)
		}
	}
	return removeOldWrapKey(from, to, fingerprint)
}

// removeOldWrapKey ends a move. Two spellings of one path, or two names of one
// file, are not a copy to be removed.
func removeOldWrapKey(from, to, fingerprint string) error {
	oldFile, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove wrap key %s: %w", from, err)
	}
	newFile, err := os.Stat(to)
	if err != nil {
		return fmt.Errorf("move wrap key to %s: %w", to, err)
	}
	if os.SameFile(oldFile, newFile) {
		return nil
	}
	return DeleteWrapKey(from, fingerprint)
}

// DeleteWrapKey removes the file with the key of the given fingerprint. It is
// no error if the file is gone; a file with another key is left alone and the
// error wraps [ErrOtherKey]. What the disk, its snapshots and backups still
// hold of the key is not in this function's hands.
func DeleteWrapKey(path, fingerprint string) error {
	_, err := CheckWrapKey(path, fingerprint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A link goes with what it points at, else the key would stay behind.
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("delete wrap key %s: %w", path, err)
	}
	for _, name := range []string{target, path} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete wrap key %s: %w", path, err)
		}
	}
	return atomicfile.SyncDir(filepath.Dir(target))
}

func writeWrapKey(path string, key protectedfile.Key) error {
	if err := os.MkdirAll(filepath.Dir(path), wrapKeyDirMode); err != nil {
		return err
	}
	return atomicfile.WriteNew(path, key[:], wrapKeyMode)
}

func readWrapKey(path string) (protectedfile.Key, fs.FileMode, error) {
	var none protectedfile.Key
	info, err := os.Stat(path)
	if err != nil {
		return none, 0, fmt.Errorf("read wrap key %s: %w", path, pathCause(err))
	}
	if !info.Mode().IsRegular() { // opening a named pipe would wait for ever
		return none, 0, fmt.Errorf("read wrap key %s: not a regular file but %s", path, info.Mode().Type())
	}
	if info.Size() > maxWrapKeyFile {
		return none, 0, fmt.Errorf("read wrap key %s: %d bytes found, want exactly %d raw bytes", path, info.Size(), protectedfile.KeySize)
	}
	f, err := os.Open(path)
	if err != nil {
		return none, 0, fmt.Errorf("read wrap key %s: %w", path, pathCause(err))
	}
	defer func() { _ = f.Close() }()
	// More than a key is read so that ParseKey can guess what the file is.
	data, err := io.ReadAll(io.LimitReader(f, maxWrapKeyFile))
	if err != nil {
		return none, 0, fmt.Errorf("read wrap key %s: %w", path, pathCause(err))
	}
	key, err := protectedfile.ParseKey(data)
	if err != nil {
		return none, 0, fmt.Errorf("read wrap key %s: %w", path, err)
	}
	return key, info.Mode(), nil
}

// pathCause strips the operation and the path that the os package adds: the
// callers say both.
func pathCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
