// Package atomicfile writes files that are either the old or the new, never half.
//
// Content goes to a temporary file in the destination's own directory, is
// synced to the device and only then renamed over the destination; the
// directory is synced last, so that the name survives a power cut too. A
// process that dies in between leaves a file whose name starts with
// [TempPrefix] and nothing else.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TempPrefix starts the name of every temporary file made by this package.
const TempPrefix = ".cc-tmp-"

// File is a file on its way to its final name. It is written like any
// [os.File]; [File.Commit] gives it its name and [File.Abort] removes it.
type File struct {
	*os.File

	path string
	done bool
}

// Create opens a temporary file beside path with the permission bits of mode,
// not reduced by the umask. Nothing exists under path before [File.Commit].
func Create(path string, mode fs.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), TempPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("create temporary file beside %s: %w", path, err)
	}
	// CreateTemp makes 0600, so a secret is never readable by others, not
	// even for the moment before this call.
	if err := f.Chmod(mode.Perm()); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, fmt.Errorf("set mode of temporary file beside %s: %w", path, err)
	}
	return &File{File: f, path: path}, nil
}

// Commit syncs the content, renames the file to its final name, replacing what
// was there, and syncs the directory. After an error nothing has changed under
// the final name, unless the error is of syncing the directory.
func (f *File) Commit() error {
	return f.commit(os.Rename)
}

// CommitNew is [File.Commit] for a name that must not exist yet: it never
// replaces a file, however late the other one appeared. The error then wraps
// [fs.ErrExist].
func (f *File) CommitNew() error {
	// A hard link fails when the name exists, which a rename does not.
	return f.commit(func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

func (f *File) commit(publish func(from, to string) error) error {
	if f.done {
		return fmt.Errorf("write %s: already committed or aborted", f.path)
	}
	f.done = true
	temp := f.Name()
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = publish(temp, f.path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return SyncDir(filepath.Dir(f.path))
}

// Abort removes the temporary file. After [File.Commit] it does nothing, so it
// can be deferred.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// WriteFile writes data to path with the permission bits of mode, replacing
// what was there in one step.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, (*File).Commit)
}

// WriteNew writes data to path, which must not exist; the error of an existing
// path wraps [fs.ErrExist].
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, (*File).CommitNew)
}

func write(path string, data []byte, mode fs.FileMode, commit func(*File) error) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return commit(f)
}

// SyncDir makes the names in a directory durable. File systems that cannot
// sync a directory are taken at their word.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !isInvalid(err) {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
