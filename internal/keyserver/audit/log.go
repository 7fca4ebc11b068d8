package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// Events that this package writes itself.
const (
	eventBegin      = "begin"
	eventRecovered  = "recovered"
	eventCheckpoint = "checkpoint"
	eventContinue   = "continue"
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
	// CheckpointFile receives the latest checkpoint; the log's path and ".checkpoint" unless given.
	CheckpointFile string
	// Signed is told of every checkpoint, to send it elsewhere; nil tells nobody. It must not use the log.
	Signed func(c *Checkpoint, text []byte)
	// Copy receives every entry, too, once it is on the device and before it is acknowledged; nil: nobody does. A copy that
	// fails is like syncing that fails. A killed process may leave a gap in it, of entries that were not acknowledged.
	Copy io.Writer
	// RotateSize is the size in bytes after which the log goes on in a new file; zero is never.
	RotateSize int64
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
	opts     Options
	create   func(path string) (file, error)

	mu         sync.Mutex
	f          file
	size       int64  // where the next line goes
	limit      int64  // beyond which to rotate; 0: never
	first      uint64 // number of the file's first entry
	seq        uint64
	head       hash
	last       time.Time
	checkpoint time.Time // of the last one
	uncopied   []byte    // lines that Options.Copy has yet to receive
	failure    error     // of the last Append; nil after one that succeeded
	dead       error     // nothing is written any more

	syncing sync.Mutex // taken before mu
	synced  uint64     // guarded by syncing
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
	full := l.limit > 0 && l.size >= l.limit
	l.mu.Unlock()
	if err == nil {
		err = l.sync(seq)
	}
	if err == nil && full {
		// The entry is on the device wherever the next one goes.
		unsigned = errors.Join(unsigned, l.next(true))
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
		return 0, fmt.Errorf("%w: it is %s by this machine, and the last entry is of %s; set the clock; if it is right now and was ahead then, "+
			"stop the server, move the log away with its former files and its checkpoint, keep them, and start a new one",
			ErrClock, now.Format(time.RFC3339), l.last.Format(time.RFC3339))
	}
	line, err := l.encode(event, now, data)
	if err != nil {
		return 0, err
	}
	if _, err := l.f.WriteAt(line, l.size); err != nil {
		// A full device may have taken half of the line.
		if terr := l.f.Truncate(l.size); terr != nil {
			l.dead = fmt.Errorf("%w, and the half-written entry cannot be removed: %w", err, terr)
			return 0, l.dead
		}
		return 0, err
	}
	l.size += int64(len(line))
	l.wrote(line, now)
	return l.seq, nil
}

// encode makes the next line, line feed included. The caller holds the lock.
func (l *Log) encode(event string, now time.Time, data any) ([]byte, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", event, err)
	}
	line, err := json.Marshal(entry{Seq: l.seq + 1, Time: now, Event: event, Prev: l.head.String(), Data: raw})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", event, err)
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("encode %s: the entry has %d bytes, at most %d", event, len(line), maxLine)
	}
	return append(line, '\n'), nil
}

// wrote says that a line has become the chain's last. The caller holds the lock.
func (l *Log) wrote(line []byte, now time.Time) {
	if l.opts.Copy != nil {
		l.uncopied = append(l.uncopied, line...)
	}
	l.seq++
	l.head = sha256.Sum256(line[:len(line)-1])
	if now.After(l.last) {
		l.last = now
	}
}

// sync makes entry seq durable. Whoever comes while another syncs is often done by then.
func (l *Log) sync(seq uint64) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.synced >= seq {
		return nil
	}
	l.mu.Lock()
	written, lines, dead := l.seq, l.uncopied, l.dead
	l.uncopied = nil
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
	if err := l.copy(lines); err != nil {
		l.mu.Lock()
		l.dead = err
		l.mu.Unlock()
		return err
	}
	l.synced = written
	return nil
}

// flush copies what has not been yet. The caller holds syncing and the lock.
func (l *Log) flush() error {
	lines := l.uncopied
	l.uncopied = nil
	err := l.copy(lines)
	if err != nil {
		l.dead = err
	}
	return err
}

// copy hands lines on that are on the device. The caller holds syncing, which keeps them in order.
func (l *Log) copy(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := l.opts.Copy.Write(lines); err != nil {
		// What of it has arrived is unknown, and a line that is there twice would break the chain.
		return fmt.Errorf("copy: %w; restart the server when its standard output is well", err)
	}
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
	c := &Checkpoint{Origin: l.signer.Name(), Seq: l.seq, Head: l.head, Time: l.now().UTC()}
	text, err := c.sign(l.signer)
	if err != nil {
		return err
	}
	if _, err := l.write(eventCheckpoint, map[string]string{"note": string(text)}); err != nil {
		return err
	}
	return l.publish(c, text)
}

// publish hands a checkpoint out. The caller holds the lock.
func (l *Log) publish(c *Checkpoint, text []byte) error {
	if l.opts.Signed != nil {
		l.opts.Signed(c, text)
	}
	if err := atomicfile.WriteFile(l.opts.CheckpointFile, text, 0o644); err != nil {
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
