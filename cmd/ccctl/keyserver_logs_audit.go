package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
)

// maxAuditLine bounds a line of an audit log, in bytes; no entry is longer.
const maxAuditLine = 1 << 20

// readAudit reads a log's files, and then what is appended to it if it is followed.
func (l *logReader) readAudit(ctx context.Context, path string) error {
	files, err := audit.Files(path)
	if err != nil {
		return err
	}
	a := &auditReader{l: l, open: map[uint64]console.Decision{}}
	for _, name := range files[:len(files)-1] {
		if err := a.readFile(ctx, name); err != nil {
			return err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := a.read(ctx, f, path); err != nil {
		return err
	}
	if !l.follow {
		if err := a.unfinished(); err != nil {
			return err
		}
		return l.catchUp()
	}
	if err := l.catchUp(); err != nil {
		return err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		moved, err := hasMoved(f, path)
		if err != nil {
			return err
		}
		if err := a.read(ctx, f, path); err != nil || !moved {
			if err != nil {
				return err
			}
			continue
		}
		// The log goes on in a new file, and all of the former one has been read.
		next, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		_ = f.Close()
		f, a.rest = next, nil
	}
}

// hasMoved reports whether the path leads to another file than f.
func hasMoved(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("read audit log: %w", err)
	}
	now, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read audit log: %w", err)
	}
	return !os.SameFile(mine, now), nil
}

// auditReader turns entries into decisions. A release is held until its end is there too.
type auditReader struct {
	l    *logReader
	open map[uint64]console.Decision // releases by their number
	rest []byte                      // a line without its end
	seen bool                        // an entry
}

func (a *auditReader) readFile(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	defer func() { _ = f.Close() }()
	a.rest = nil
	return a.read(ctx, f, name)
}

// read goes on to the end of what is there now.
func (a *auditReader) read(ctx context.Context, f io.Reader, name string) error {
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		part, err := lines.ReadSlice('\n')
		a.rest = append(a.rest, part...)
		switch {
		case err == nil:
			if err := a.line(bytes.TrimSuffix(a.rest, []byte("\n")), name); err != nil {
				return err
			}
			a.rest = a.rest[:0]
			if ctx.Err() != nil {
				return ctx.Err()
			}
		case len(a.rest) > maxAuditLine:
			return withCode(exitFormat, fmt.Errorf("read audit log %s: a line is longer than %d bytes, which no entry is", name, maxAuditLine))
		case errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read audit log: %w", err)
		}
	}
}

func (a *auditReader) line(line []byte, name string) error {
	var e struct {
		Seq   uint64          `json:"seq"`
		Time  time.Time       `json:"time"`
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
	}
	bad := func(what string) error {
		if !a.seen {
			return withCode(exitFormat, fmt.Errorf("read audit log %s: it is not an audit log", name))
		}
		return withHint(withCode(exitNotGenuine, fmt.Errorf("read audit log %s: after entry %s", name, what)), "'ccctl audit verify' says where it is not what was written")
	}
	if err := json.Unmarshal(line, &e); err != nil || e.Seq == 0 || e.Event == "" {
		return bad("there is a line that is none")
	}
	a.seen = true
	d := console.Decision{}
	decode := func(v any) error {
		if err := json.Unmarshal(e.Data, v); err != nil {
			return bad(fmt.Sprintf("%d cannot be read: %v", e.Seq, err))
		}
		return nil
	}
	switch e.Event {
	case "release", "refuse":
		if err := decode(&d); err != nil {
			return err
		}
		d.Seq, d.Time, d.Verdict = 0, e.Time, console.VerdictRefused
		if e.Event == "release" {
			d.Verdict, d.AuditEntry = verdictReleased, e.Seq
			a.open[e.Seq] = d
			return nil
		}
	case "sent", "not_sent":
		var end struct {
			Of    uint64 `json:"of"`
			Error string `json:"error"`
		}
		if err := decode(&end); err != nil {
			return err
		}
		var known bool
		if d, known = a.open[end.Of]; !known {
			d.Peer = "-" // the release is in a file that was archived
		}
		delete(a.open, end.Of)
		d.Time, d.Verdict, d.Error, d.AuditEntry = e.Time, e.Event, end.Error, end.Of
	case "config", "config_refused":
		var load struct {
			File    string `json:"file"`
			SHA256  string `json:"sha256"`
			Refused string `json:"refused"`
		}
		if err := decode(&load); err != nil {
			return err
		}
		d = console.Decision{Time: e.Time, Verdict: e.Event, Peer: "-", Config: load.SHA256, Error: load.Refused}
	default:
		return nil
	}
	return a.l.add(d)
}

// unfinished gives out releases whose end is not in the log.
func (a *auditReader) unfinished() error {
	for _, seq := range slices.Sorted(maps.Keys(a.open)) {
		if err := a.l.add(a.open[seq]); err != nil {
			return err
		}
	}
	return nil
}
