package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// former is the name under which a file is kept that the log does not go on in: that of the log, and the number of
// its first entry. Sorted by name they are in order.
func former(path string, first uint64) string { return fmt.Sprintf("%s.%012d", path, first) }

var formerPattern = regexp.MustCompile(`^\.[0-9]{12,20}$`)

// Files lists the files of the log at path, in order: the former ones that are beside it, and path.
func Files(path string) ([]string, error) {
	former, err := formerFiles(path)
	if err != nil {
		return nil, fmt.Errorf("find audit log: %w", err)
	}
	return append(former, path), nil
}

// formerFiles lists the former files of a log, oldest first.
func formerFiles(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path)) // sorted
	if err != nil {
		return nil, err
	}
	base := filepath.Base(path)
	var files []string
	for _, e := range entries {
		name := e.Name()
		if len(name) > len(base) && name[:len(base)] == base && formerPattern.MatchString(name[len(base):]) {
			files = append(files, filepath.Join(filepath.Dir(path), name))
		}
	}
	return files, nil
}

// next lets the log go on in a new file. With move the present one is at the log's path and is moved away first; without, that
// has been done by a process which came no further.
//
// The new file has its first entry on the device before anything is renamed, and the present one all of its
// entries. A process that dies in between leaves the log's path empty for the next Open to find.
func (l *Log) next(move bool) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil || move && l.size < l.limit { // somebody else was first
		return l.dead
	}
	err := l.moveOn(move)
	if err == nil {
		return nil
	}
	// It goes on where it is, and tries again after a while.
	if l.limit > 0 {
		l.limit = l.size + max(l.opts.RotateSize/16, 1)
	}
	return fmt.Errorf("begin a new file: %w", err)
}

func (l *Log) moveOn(move bool) (err error) {
	if err := l.f.Sync(); err != nil {
		l.dead = fmt.Errorf("sync: %w; restart the server when the device is well", err)
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	l.synced = l.seq
	kept := former(l.path, l.first)
	if _, err := os.Lstat(kept); move && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is in the way", kept)
	}
	data := map[string]string{"after": filepath.Base(kept)}
	var c *Checkpoint
	var text []byte
	now := l.now().UTC()
	if l.signer != nil {
		// So that this file can be verified when the former ones have been archived elsewhere.
		c = &Checkpoint{Origin: l.signer.Name(), Seq: l.seq, Head: l.head, Time: now}
		if text, err = c.sign(l.signer); err != nil {
			return err
		}
		data["note"] = string(text)
	}
	line, err := l.encode(eventContinue, now, data)
	if err != nil {
		return err
	}
	f, err := l.begin(l.path+".next", line)
	if err != nil {
		return err
	}
	if move {
		err = os.Rename(l.path, kept) //nolint:gosec // The operator names the log.
	}
	if err == nil {
		if err = os.Rename(l.path+".next", l.path); err != nil && move { //nolint:gosec // The operator names the log.
			err = errors.Join(err, os.Rename(kept, l.path)) //nolint:gosec // The operator names the log.
		}
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(l.path + ".next") //nolint:gosec // The operator names the log.
		return err
	}
	_ = l.f.Close()
	l.f, l.size, l.limit = f, int64(len(line)), l.opts.RotateSize
	l.first = l.seq + 1
	l.wrote(line, now)
	l.synced = l.seq
	if err := atomicfile.SyncDir(filepath.Dir(l.path)); err != nil {
		// Entries would be synced into a file whose name may not last.
		l.dead = fmt.Errorf("sync directory: %w; restart the server when the device is well", err)
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	if c != nil {
		return l.publish(c, text)
	}
	return nil
}

// begin makes a file with its first line on the device.
func (l *Log) begin(path string, line []byte) (file, error) {
	// Of a process that came no further.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // The operator names the log.
		return nil, err
	}
	f, err := l.create(path)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(line, 0); err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(path) //nolint:gosec // The operator names the log.
		return nil, err
	}
	return f, nil
}
