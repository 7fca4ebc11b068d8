package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/filelock"
)

// Open opens a log or begins one. It takes a lock on the file, which only one process can hold, cuts off what a killed
// process left in part, and reads the last entry; Verify reads all of them.
func Open(path string, opts Options) (*Log, error) {
	for range 10 {
		l, err := tryOpen(path, opts)
		if !errors.Is(err, errMoved) {
			return l, err
		}
	}
	return nil, fmt.Errorf("open audit log %s: %w again and again", path, errMoved)
}

// errMoved says that the file was renamed while it was opened: its server has just begun another.
var errMoved = errors.New("the file is moved away")

func tryOpen(path string, opts Options) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // The operator names the file.
	var moved bool
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A process that was killed between the two renames of a rotation has left files but no file.
		var former []string
		if former, err = formerFiles(path); err != nil {
			return nil, fmt.Errorf("open audit log: %w", err)
		}
		if moved = len(former) > 0; moved {
			f, err = os.OpenFile(former[len(former)-1], os.O_RDWR, 0) //nolint:gosec // As above.
		} else {
			f, err = createFile(path)
			if err == nil {
				err = atomicfile.SyncDir(filepath.Dir(path))
			}
		}
		if errors.Is(err, fs.ErrExist) || moved && errors.Is(err, fs.ErrNotExist) {
			return nil, errMoved
		}
	case err == nil:
	}
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l, err := lockAndOpen(path, f, moved, opts)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

func lockAndOpen(path string, f *os.File, moved bool, opts Options) (*Log, error) {
	if err := filelock.Try(f, true); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("lock audit log %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	// Who held the lock until now may have moved the file away meanwhile.
	if there, err := os.Stat(path); !moved && (err != nil || !os.SameFile(info, there)) || moved && err == nil { //nolint:gosec // The operator names the log.
		return nil, errMoved
	}
	rotate := opts.RotateSize
	if moved {
		opts.RotateSize = 0 // not yet: there is nothing at path that could be moved
	}
	l, err := open(path, f, info.Size(), opts)
	if err != nil {
		return nil, err
	}
	l.opts.RotateSize, l.limit = rotate, rotate
	if moved {
		if err := l.next(false); err != nil && l.f == file(f) {
			return nil, err
		} else if err != nil { // it has begun, and only what comes after that failed
			l.failure = err
		}
	}
	return l, nil
}

// createFile makes a file that does not exist.
func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // The operator names the file.
}

func open(path string, f file, size int64, opts Options) (*Log, error) {
	l := &Log{path: path, f: f, signer: opts.Signer, interval: opts.Interval, now: opts.Now, opts: opts, limit: opts.RotateSize}
	l.create = func(path string) (file, error) {
		f, err := createFile(path)
		if err != nil {
			return nil, err
		}
		if err := filelock.Try(f, true); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			_ = f.Close()
			return nil, err
		}
		return f, nil
	}
	if l.interval <= 0 {
		l.interval = time.Hour
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.opts.CheckpointFile == "" {
		l.opts.CheckpointFile = path + ".checkpoint"
	}
	torn, err := l.resume(size)
	if err != nil {
		return nil, fmt.Errorf("open audit log %s: %w", path, err)
	}
	if l.seq == 0 {
		l.first = 1
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		if _, err := l.Append(eventBegin, map[string]string{"log": hex.EncodeToString(id)}); err != nil {
			return nil, err
		}
	}
	if len(torn) > 0 {
		sum := sha256.Sum256(torn)
		data := map[string]any{"removed_bytes": len(torn), "removed_sha256": hex.EncodeToString(sum[:])}
		if _, err := l.Append(eventRecovered, data); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// resume finds the end of the chain, and returns what follows it without being an entry.
func (l *Log) resume(size int64) (torn []byte, err error) {
	// The last line and what is left of one more: at most two lines from the end.
	from := max(0, size-2*maxLine)
	tail := make([]byte, size-from)
	if _, err := l.f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == 0 {
		if from > 0 {
			return nil, errors.New("it does not end in an entry; move the file away and keep it")
		}
		if len(tail) > 0 && tail[0] != '{' {
			return nil, errors.New("it is not an audit log")
		}
	}
	if end > 0 {
		line := tail[bytes.LastIndexByte(tail[:end-1], '\n')+1 : end-1]
		var last entry
		if err := json.Unmarshal(line, &last); err != nil || last.Seq == 0 {
			return nil, errors.New("its last line is not an entry; move the file away and keep it")
		}
		l.seq, l.last, l.head = last.Seq, last.Time, sha256.Sum256(line)
		if l.first, err = l.firstEntry(tail, from); err != nil {
			return nil, err
		}
	}
	torn = tail[end:]
	l.size = from + int64(end)
	l.synced = l.seq
	if len(torn) > 0 {
		if err := l.f.Truncate(l.size); err != nil {
			return nil, err
		}
	}
	return torn, nil
}

// firstEntry is the number of the file's first entry; tail is what the file holds from some offset on.
func (l *Log) firstEntry(tail []byte, from int64) (uint64, error) {
	head := tail
	if from > 0 {
		head = make([]byte, maxLine)
		if _, err := l.f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	line, _, found := bytes.Cut(head, []byte("\n"))
	var first entry
	if err := json.Unmarshal(line, &first); err != nil || first.Seq == 0 || !found {
		return 0, errors.New("its first line is not an entry; move the file away and keep it")
	}
	return first.Seq, nil
}
