package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

const (
	tlsDirMode    fs.FileMode = 0o700
	tlsSecretMode fs.FileMode = 0o600
	tlsPublicMode fs.FileMode = 0o644
)

func tlsFileMode(f tlsmaterials.File) fs.FileMode {
	if f.Secret {
		return tlsSecretMode
	}
	return tlsPublicMode
}

// existing lists those of the paths under dir that exist, whatever they are.
func existing(dir string, paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		_, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p)))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// writeNewTLSFiles writes a set that is not there yet: all of it or nothing. A directory that does not exist comes into
// being with everything in it. The error wraps [fs.ErrExist] if one of the files exists.
func writeNewTLSFiles(dir string, files []tlsmaterials.File) error {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return addTLSFiles(dir, files)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, tlsDirMode); err != nil {
		return err
	}
	stage, err := os.MkdirTemp(parent, atomicfile.TempPrefix+"*") // has tlsDirMode
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(stage) }() // nothing is left of it after the rename
	if err := writeTLSFiles(stage, files); err != nil {
		return err
	}
	if err := os.Rename(stage, dir); err != nil { // another process was faster
		return err
	}
	return atomicfile.SyncDir(parent)
}

// replaceTLSFiles writes files over older ones, in their order. All contents are on the disk before the first name
// changes hands, so that a full disk or a missing permission changes nothing. A crash in between leaves a prefix of the
// files new; see [tlsmaterials.Paths] for why that order is safe, and [ObserveTLSMaterials] for how the next plan sees it.
func replaceTLSFiles(dir string, files []tlsmaterials.File) error {
	staged := make([]*atomicfile.File, 0, len(files))
	defer func() {
		for _, f := range staged {
			f.Abort() // no effect on what is committed
		}
	}()
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), tlsDirMode); err != nil {
			return err
		}
		temp, err := atomicfile.Create(name, tlsFileMode(f))
		if err != nil {
			return err
		}
		staged = append(staged, temp)
		if _, err := temp.Write(f.Data); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := temp.Sync(); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	for i, f := range staged {
		if err := f.Commit(); err != nil {
			return fmt.Errorf("after replacing %d of %d files: %w", i, len(files), err)
		}
	}
	return nil
}

// removeTLSFiles removes those of the given files that are the set's own: what somebody else has put in their places is
// left and returned. Directories that become empty go too.
func removeTLSFiles(dir string, o *TLSObservation, paths []string) (foreign []string, err error) {
	var gone []string
	for _, p := range paths {
		switch o.problem(p).Kind {
		case TLSChanged, TLSUnreadable:
			foreign = append(foreign, p)
			continue
		case TLSMissing:
			continue
		}
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(p))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return foreign, fmt.Errorf("remove %s: %w", p, pathCause(err))
		}
		gone = append(gone, path.Dir(p))
	}
	for _, sub := range gone {
		for ; sub != "."; sub = path.Dir(sub) {
			_ = os.Remove(filepath.Join(dir, filepath.FromSlash(sub))) // fails while something is in it, as it should
		}
	}
	return foreign, nil
}

// RemoveTLSMaterials removes the files of the observed set, and the directory if nothing else is in it. Files that are
// not as the record says are left alone and returned.
func RemoveTLSMaterials(dir string, o *TLSObservation) (left []string, err error) {
	// The certificates are removed before their keys, the reverse of the order of writing.
	paths := tlsPaths(o.Set)
	slices.Reverse(paths)
	left, err = removeTLSFiles(dir, o, paths)
	if err != nil {
		return left, fmt.Errorf("remove TLS materials in %s: %w", dir, err)
	}
	_ = os.Remove(dir)
	return left, nil
}

// MoveTLSMaterials takes the observed set to another directory, in which none of its files may exist: the error then
// wraps [fs.ErrExist]. The new files are complete before the old ones go.
func MoveTLSMaterials(from, to string, o *TLSObservation) error {
	if err := moveTLSMaterials(from, to, o); err != nil {
		return fmt.Errorf("move TLS materials from %s to %s: %w", from, to, err)
	}
	return nil
}

func moveTLSMaterials(from, to string, o *TLSObservation) error {
	if len(o.Problems) > 0 {
		return fmt.Errorf("the set is not complete: %s", o.Problems[0])
	}
	files, err := o.Set.Files()
	if err != nil {
		return err
	}
	if o.Set.Sealed != nil {
		data, _, err := readTLSFile(filepath.Join(from, tlsmaterials.SealedSSLConfigFile))
		if err != nil {
			return fmt.Errorf("read %s: %w", tlsmaterials.SealedSSLConfigFile, err)
		}
		files = append(files, tlsmaterials.File{Path: tlsmaterials.SealedSSLConfigFile, Data: data})
	}
	if err := writeNewTLSFiles(to, files); err != nil {
		return err
	}
	_, err = RemoveTLSMaterials(from, o)
	return err
}
