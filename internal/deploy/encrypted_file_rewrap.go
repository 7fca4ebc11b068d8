package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// rewrapJournalSuffix ends the name of the copy of node 0 that exists while it
// is being replaced in place.
const rewrapJournalSuffix = ".cc-rewrap"

// RewrapSpec says which protected file gets another wrap key.
type RewrapSpec struct {
	Path           string
	OldKey, NewKey protectedfile.Key
	// Deep encrypts everything again under fresh keys; otherwise only node 0 is
	// replaced, see [protectedfile.Rewrap] for what that does not do.
	Deep     bool
	Jobs     int
	Progress func(n int64)
}

// RewrapResult says what a rewrap found and did.
type RewrapResult struct {
	// Already is set when the file had the new key: an earlier run did it.
	Already bool
	// Recovered is set when an earlier run was interrupted and has been undone
	// first.
	Recovered bool
}

// RewrapFile changes the wrap key of a protected file in place. After a crash
// the file has the old key or the new one. While node 0 is replaced, a copy of
// the old one lies beside the file; a run that finds it repairs what an
// interrupted one has left. Running it again is harmless.
func RewrapFile(ctx context.Context, spec RewrapSpec) (RewrapResult, error) {
	var result RewrapResult
	err := spec.run(ctx, &result)
	if err != nil {
		return RewrapResult{}, fmt.Errorf("rewrap %s: %w", spec.Path, err)
	}
	return result, nil
}

func (spec *RewrapSpec) run(ctx context.Context, result *RewrapResult) error {
	if spec.OldKey == spec.NewKey {
		return errors.New("the new wrap key is the old one")
	}
	// Both forms work on the file itself, not on a link to it.
	path, err := filepath.EvalSymlinks(spec.Path)
	if err != nil {
		return pathCause(err)
	}
	node, err := readNode0(path)
	if err != nil {
		return err
	}
	if node, err = spec.recoverJournal(path, node, result); err != nil {
		return err
	}
	fresh, err := protectedfile.Rewrap(node, spec.OldKey, spec.NewKey)
	if err != nil {
		if spec.opensWith(node, spec.NewKey) {
			result.Already = true
			return nil
		}
		return err
	}
	if spec.Deep {
		return spec.reencrypt(ctx, path)
	}
	return replaceNode0(path, node, fresh)
}

// reencrypt writes a new file beside the old one and puts it in its place.
func (spec *RewrapSpec) reencrypt(ctx context.Context, path string) error {
	return withProtected(path, spec.OldKey, protectedfile.ReaderOptions{AllowAnyPath: true}, func(in *os.File, r *protectedfile.Reader) error {
		info, err := in.Stat()
		if err != nil {
			return pathCause(err)
		}
		out, err := atomicfile.Create(path, info.Mode())
		if err != nil {
			return err
		}
		defer out.Abort()
		// Nodes left over behind the old file do not come along.
		size, err := protectedfile.FileSize(r.Size())
		if err != nil {
			return err
		}
		file := &flushing{File: out.File}
		if err := file.reserve(size); err != nil {
			return err
		}
		opts := protectedfile.WriterOptions{Jobs: fileJobs(spec.Jobs), Progress: spec.Progress}
		if _, err := protectedfile.Reencrypt(ctx, file, r, spec.NewKey, opts); err != nil {
			return err
		}
		if err := unlessCancelled(ctx, out.Sync); err != nil {
			return err
		}
		return out.Commit()
	})
}

// replaceNode0 overwrites the first node of the file. A power cut may tear the
// write, so the old node is made durable beside the file first.
func replaceNode0(path string, old, fresh []byte) error {
	journal := path + rewrapJournalSuffix
	if err := atomicfile.WriteNew(journal, old, 0o600); err != nil {
		return fmt.Errorf("keep a copy of node 0: %w", err)
	}
	if err := writeNode0(path, fresh); err != nil {
		return err
	}
	return removeJournal(journal)
}

// recoverJournal repairs what an interrupted run has left: if node 0 is neither
// the old nor the new one, it was torn, and its copy is put back. It returns
// the node that is in the file afterwards.
func (spec *RewrapSpec) recoverJournal(path string, node []byte, result *RewrapResult) ([]byte, error) {
	journal := path + rewrapJournalSuffix
	kept, err := readNode0(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return node, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the copy of node 0 that an interrupted rewrap has left in %s: %w", journal, err)
	}
	if !spec.opensWith(node, spec.OldKey) && !spec.opensWith(node, spec.NewKey) {
		if !spec.opensWith(kept, spec.OldKey) && !spec.opensWith(kept, spec.NewKey) {
			return nil, fmt.Errorf("an interrupted rewrap has left a copy of node 0 in %s, but neither the file nor the copy opens with one of the two wrap keys", journal)
		}
		if err := writeNode0(path, kept); err != nil {
			return nil, err
		}
		node = kept
		result.Recovered = true
	}
	return node, removeJournal(journal)
}

// opensWith tells whether node 0 authenticates under a key.
func (spec *RewrapSpec) opensWith(node []byte, key protectedfile.Key) bool {
	other := spec.OldKey
	if key == other {
		other = spec.NewKey
	}
	_, err := protectedfile.Rewrap(node, key, other)
	return err == nil
}

// RewrapInterrupted tells whether an interrupted [RewrapFile] has left its copy
// of node 0 beside the file, which may then be unreadable until the rewrap is
// repeated.
func RewrapInterrupted(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	_, err = os.Stat(target + rewrapJournalSuffix)
	return err == nil
}

func readNode0(path string) ([]byte, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	node := make([]byte, min(info.Size(), protectedfile.NodeSize))
	if _, err := f.ReadAt(node, 0); err != nil {
		return nil, pathCause(err)
	}
	return node, nil
}

func writeNode0(path string, node []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("replace node 0: %w", pathCause(err))
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("replace node 0: %w", pathCause(cerr))
		}
	}()
	if _, err := f.WriteAt(node, 0); err != nil {
		return fmt.Errorf("replace node 0: %w", pathCause(err))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("replace node 0: %w", pathCause(err))
	}
	return nil
}

func removeJournal(journal string) error {
	if err := os.Remove(journal); err != nil {
		return fmt.Errorf("remove the copy of node 0: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(journal))
}
