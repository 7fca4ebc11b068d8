package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/filelock"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// A set of files is added to a directory that has others by way of a stage, a
// directory in it with a name of its own: first all files are written there,
// then each gets its name by a hard link, then the stage goes. A process that
// is killed in between leaves the stage, and whoever comes next tells by it
// which files belong to a set that never became whole. The stage is locked for
// as long as its maker lives.

// addTLSFiles writes files beside others: all of them or none. The error wraps
// [fs.ErrExist] if one of them exists.
func addTLSFiles(dir string, files []tlsmaterials.File) error {
	stage, unlock, err := newTLSStage(dir)
	if err != nil {
		return err
	}
	defer unlock()
	defer func() { _ = os.RemoveAll(stage) }()
	if err := writeTLSFiles(stage, files); err != nil {
		return err
	}
	var linked []string
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		err := os.MkdirAll(filepath.Dir(name), tlsDirMode)
		if err == nil {
			err = os.Link(filepath.Join(stage, filepath.FromSlash(f.Path)), name)
		}
		if err != nil {
			for _, name := range linked {
				err = errors.Join(err, os.Remove(name))
			}
			return fmt.Errorf("write %s: %w", name, err)
		}
		linked = append(linked, name)
	}
	for _, name := range linked {
		if err := atomicfile.SyncDir(filepath.Dir(name)); err != nil {
			return err
		}
	}
	return nil
}

// writeTLSFiles writes files into a directory that nobody looks into yet.
func writeTLSFiles(dir string, files []tlsmaterials.File) error {
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), tlsDirMode); err != nil {
			return err
		}
		if err := atomicfile.WriteNew(name, f.Data, tlsFileMode(f)); err != nil {
			return err
		}
	}
	return nil
}

// newTLSStage makes a stage and locks it.
func newTLSStage(dir string) (stage string, unlock func(), err error) {
	for range 10 {
		stage, err = os.MkdirTemp(dir, atomicfile.TempPrefix+"*") // has tlsDirMode
		if err != nil {
			return "", nil, err
		}
		unlock, err := lockTLSStage(stage)
		// Until it is locked it looks as if its maker had been killed.
		if errors.Is(err, filelock.ErrHeld) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, errors.ErrUnsupported) { // nobody removes it, then
			return stage, func() {}, nil
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(stage))
		}
		if _, err := os.Lstat(stage); err != nil {
			unlock()
			continue
		}
		return stage, unlock, nil
	}
	return "", nil, fmt.Errorf("write files to %s: others remove what is being written, again and again", dir)
}

// lockTLSStage takes the lock of a stage.
func lockTLSStage(stage string) (unlock func(), err error) {
	f, err := os.Open(stage)
	if err != nil {
		return nil, err
	}
	if err := filelock.Try(f, true); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// recoverTLSFiles undoes what a process that was killed in addTLSFiles has
// left. A set that has become whole stays, as its maker may have told somebody
// of it.
func recoverTLSFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
			continue
		}
		stage := filepath.Join(dir, e.Name())
		unlock, err := lockTLSStage(stage)
		if err != nil { // its maker is at work, or has just ended; or nobody can tell
			continue
		}
		err = undoTLSStage(stage, dir)
		unlock()
		if err != nil {
			return fmt.Errorf("remove what an interrupted run has left: %w", err)
		}
	}
	return nil
}

// undoTLSStage removes a stage, and the files that got their names from it
// unless all of them did.
func undoTLSStage(stage, dir string) error {
	var linked []string
	whole := true
	err := filepath.WalkDir(stage, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		staged, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.Join(dir, strings.TrimPrefix(path, stage))
		if there, err := os.Lstat(name); err == nil && os.SameFile(staged, there) {
			linked = append(linked, name)
		} else {
			whole = false
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !whole {
		for _, name := range linked {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(stage)
}
