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
	"os"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/filelock"
)

// Events that this package writes itself.
const (
	eventBegin      = "begin"
	eventRecovered  = "recovered"
	eventCheckpoint = "checkpoint"
)

const (
	maxLine = 1 << 20 // bytes
	// clockTolerance is how far the clock may be behind the last entry: it may be adjusted, but not turned back.
	clockTolerance = 5 * time.Minute
)

// ErrClock says that the machine's clock is behind the log's last entry. Quotes and collateral that are long expired
// would be valid by such a clock.
var ErrClock = errors.New("the clock has been turned back")

// entry is a line.
type entry struct {
	Seq   uint64          `json:"seq"`
	Time  time.Time       `json:"time"`
	Event string          `json:"event"`
	Prev  string          `json:"prev"`
	Data  json.RawMessage `json:"data,omitempty"`
}

type hash [sha256.Size]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

// Options change how a log is kept.
type Options struct {
	// Signer signs checkpoints; nil makes none.
	Signer note.Signer
	// Interval is the time after which an entry is followed by a checkpoint; one hour unless given.
	Interval time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// file is what a log needs of an *os.File.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Log is an open audit log. It may be used by several goroutines at once.
type Log struct {
	path     string
	signer   note.Signer
	interval time.Duration
	now      func() time.Time

	mu         sync.Mutex
	f          file
	size       int64 // where the next line goes
	seq        uint64
	head       hash
	last       time.Time
	id         string
	checkpoint time.Time // of the last one
	failure    error     // of the last Append; nil after one that succeeded
	dead       error     // nothing is written any more

	syncing sync.Mutex // taken before mu
	synced  uint64     // guarded by syncing
}

// Open opens a log or begins one. It takes a lock on the file, which only one process can hold, cuts off what a killed
// process left in part, and reads the last entry; Verify reads all of them.
func Open(path string, opts Options) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if err := filelock.Try(f, true); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		_ = f.Close()
		return nil, fmt.Errorf("lock audit log %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l, err := open(path, f, info.Size(), opts)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

func open(path string, f file, size int64, opts Options) (*Log, error) {
	l := &Log{path: path, f: f, signer: opts.Signer, interval: opts.Interval, now: opts.Now}
	if l.interval <= 0 {
		l.interval = time.Hour
	}
	if l.now == nil {
		l.now = time.Now
	}
	torn, err := l.resume(size)
	if err != nil {
		return nil, fmt.Errorf("open audit log %s: %w", path, err)
	}
	if l.seq == 0 {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		l.id = hex.EncodeToString(id)
		if _, err := l.Append(eventBegin, map[string]string{"log": l.id}); err != nil {
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

// Append adds an entry and returns its number once it is on the device. After an error what it was to account for must not
// happen: the entry is not there or, if it was syncing that failed, may or may not be, and nothing is written after it.
func (l *Log) Append(event string, data any) (uint64, error) {
	l.mu.Lock()
	seq, err := l.write(event, data)
	var unsigned error
	if err == nil && l.signer != nil && l.now().Sub(l.checkpoint) >= l.interval {
		// The entry stands without a signature too; Err says that something is wrong.
		unsigned = l.writeCheckpoint()
	}
	l.mu.Unlock()
	if err == nil {
		err = l.sync(seq)
	}
	l.mu.Lock()
	l.failure = errors.Join(err, unsigned)
	l.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write audit log: %w", err)
	}
	return seq, nil
}

// write adds a line. The caller holds the lock.
func (l *Log) write(event string, data any) (uint64, error) {
	if l.dead != nil {
		return 0, l.dead
	}
	now := l.now().UTC()
	if now.Before(l.last.Add(-clockTolerance)) {
		return 0, fmt.Errorf("%w: it is %s by this machine, and the last entry is of %s",
			ErrClock, now.Format(time.RFC3339), l.last.Format(time.RFC3339))
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", event, err)
	}
	line, err := json.Marshal(entry{Seq: l.seq + 1, Time: now, Event: event, Prev: l.head.String(), Data: raw})
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", event, err)
	}
	if len(line) >= maxLine {
		return 0, fmt.Errorf("encode %s: the entry has %d bytes, at most %d", event, len(line), maxLine)
	}
	if _, err := l.f.WriteAt(append(line, '\n'), l.size); err != nil {
		// A full device may have taken half of the line.
		if terr := l.f.Truncate(l.size); terr != nil {
			l.dead = fmt.Errorf("%w, and the half-written entry cannot be removed: %w", err, terr)
			return 0, l.dead
		}
		return 0, err
	}
	l.size += int64(len(line)) + 1
	l.seq++
	l.head = sha256.Sum256(line)
	if now.After(l.last) {
		l.last = now
	}
	return l.seq, nil
}

// sync makes entry seq durable. Whoever comes while another syncs is often done by then.
func (l *Log) sync(seq uint64) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.synced >= seq {
		return nil
	}
	l.mu.Lock()
	written, dead := l.seq, l.dead
	l.mu.Unlock()
	if dead != nil {
		return dead
	}
	if err := l.f.Sync(); err != nil {
		// What of the file has reached the device is unknown from now on (fsync(2)): nothing more is acknowledged.
		l.mu.Lock()
		l.dead = fmt.Errorf("sync: %w; restart the server when the device is well", err)
		l.mu.Unlock()
		return err
	}
	l.synced = written
	return nil
}

// Err is what was wrong with the last Append, or nil: it failed, or a checkpoint that was due could not be written.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// writeCheckpoint signs the chain up to here. The caller holds the lock.
func (l *Log) writeCheckpoint() error {
	text, err := (&Checkpoint{Origin: l.signer.Name(), Seq: l.seq, Head: l.head, Time: l.now().UTC()}).sign(l.signer)
	if err != nil {
		return err
	}
	if _, err := l.write(eventCheckpoint, map[string]string{"note": string(text)}); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(l.path+".checkpoint", text, 0o644); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	l.checkpoint = l.now()
	return nil
}

// Close makes a last checkpoint and gives up the file.
func (l *Log) Close() error {
	l.mu.Lock()
	var err error
	if l.signer != nil && l.dead == nil {
		err = l.writeCheckpoint()
	}
	seq := l.seq
	l.mu.Unlock()
	if err == nil {
		err = l.sync(seq)
	}
	l.mu.Lock()
	if l.dead == nil {
		l.dead = errors.New("the log is closed")
	}
	cerr := l.f.Close()
	l.mu.Unlock()
	if err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}
