package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Error says where a log is not what was written.
type Error struct {
	Line    int    // 1 for the first; 0: the file as a whole
	Problem string // what was found, and what it means
	// NotALog: the file is something else altogether.
	NotALog bool
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return "verify audit log: " + e.Problem
	}
	return fmt.Sprintf("verify audit log: line %d: %s", e.Line, e.Problem)
}

// Report is what a verified log holds.
type Report struct {
	Entries     uint64         `json:"entries"`
	Head        string         `json:"head"` // SHA-256 of the last entry, in hex
	First       time.Time      `json:"first"`
	Last        time.Time      `json:"last"`
	Events      map[string]int `json:"events"`
	Checkpoints int            `json:"checkpoints"` // that were checked
	// Signed is how many entries the last checked checkpoint covers: those after it could have been cut off.
	Signed uint64 `json:"signed"`
}

// VerifyOptions say what to hold a log against.
type VerifyOptions struct {
	// Verifier checks the checkpoints in the log; nil leaves them unchecked.
	Verifier note.Verifier
	// Checkpoints were copied from the log at some time.
	Checkpoints []*Checkpoint
}

// Verify reads a log from its beginning and finds any entry that was changed, removed, moved or added. The error is an
// *Error unless reading failed.
func Verify(r io.Reader, opts VerifyOptions) (*Report, error) {
	v := verifier{opts: opts, report: &Report{Events: map[string]int{}}, heads: map[uint64]hash{}}
	for _, c := range opts.Checkpoints {
		v.heads[c.Seq] = hash{}
	}
	lines := bufio.NewReaderSize(r, maxLine+1)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return v.finish()
		case errors.Is(err, io.EOF):
			if n == 1 {
				return nil, &Error{NotALog: true, Problem: "it is not an audit log"}
			}
			return nil, &Error{Line: n, Problem: "the file ends in the middle of an entry: it was cut off, or its server was killed while it wrote and has not been started since"}
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, &Error{Line: n, NotALog: n == 1, Problem: fmt.Sprintf("it is longer than %d bytes, which no entry is", maxLine)}
		case err != nil:
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		if failure := v.line(line[:len(line)-1]); failure != nil {
			failure.Line = n
			failure.NotALog = failure.NotALog && n == 1
			return nil, failure
		}
	}
}

type verifier struct {
	opts   VerifyOptions
	report *Report
	head   hash
	heads  map[uint64]hash // of the entries that checkpoints speak of
}

func (v *verifier) line(line []byte) *Error {
	var e entry
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || dec.InputOffset() != int64(len(line)) || e.Seq == 0 || e.Event == "" {
		return &Error{NotALog: true, Problem: "it is not an entry"}
	}
	want := v.report.Entries + 1
	switch {
	case e.Seq > want && want == 1:
		return &Error{Problem: fmt.Sprintf("the log begins with entry %d: what was before it is missing", e.Seq)}
	case e.Seq > want:
		return &Error{Problem: fmt.Sprintf("entry %d follows entry %d: those between are missing", e.Seq, want-1)}
	case e.Seq < want:
		return &Error{Problem: fmt.Sprintf("entry %d follows entry %d: it was moved or repeated", e.Seq, want-1)}
	case e.Prev != v.head.String() && want == 1:
		return &Error{Problem: "the first entry says that there was one before it"}
	case e.Prev != v.head.String():
		return &Error{Problem: fmt.Sprintf("entry %d was written after another entry %d than the one before it here: that one was changed or replaced", e.Seq, want-1)}
	case want == 1 && e.Event != eventBegin:
		return &Error{Problem: fmt.Sprintf("the first entry is %q, want %q", e.Event, eventBegin)}
	}
	if e.Event == eventCheckpoint && v.opts.Verifier != nil {
		if failure := v.checkpoint(&e); failure != nil {
			return failure
		}
	}
	if e.Seq == 1 {
		v.report.First = e.Time
	}
	v.report.Entries, v.report.Last = e.Seq, e.Time
	v.report.Events[e.Event]++
	v.head = sha256.Sum256(line)
	if _, wanted := v.heads[e.Seq]; wanted {
		v.heads[e.Seq] = v.head
	}
	return nil
}

// checkpoint checks one that is an entry of the log.
func (v *verifier) checkpoint(e *entry) *Error {
	var data struct {
		Note string `json:"note"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return &Error{Problem: "the checkpoint has no note"}
	}
	c, err := ReadCheckpoint([]byte(data.Note), v.opts.Verifier)
	switch {
	case err != nil:
		return &Error{Problem: err.Error()}
	case c.Seq != v.report.Entries, c.Head != v.head:
		return &Error{Problem: fmt.Sprintf("the checkpoint is of %d entries that are not those before it: the log was rewritten", c.Seq)}
	}
	v.report.Checkpoints++
	v.report.Signed = c.Seq
	return nil
}

func (v *verifier) finish() (*Report, error) {
	if v.report.Entries == 0 {
		return nil, &Error{NotALog: true, Problem: "it is empty, and even a new audit log has an entry"}
	}
	for _, c := range v.opts.Checkpoints {
		switch {
		case c.Seq > v.report.Entries:
			return nil, &Error{Problem: fmt.Sprintf("the checkpoint of %s covers %d entries and the log has %d: its end was cut off",
				c.Time.Format(time.RFC3339), c.Seq, v.report.Entries)}
		case v.heads[c.Seq] != c.Head:
			return nil, &Error{Problem: fmt.Sprintf("entry %d is not the one that the checkpoint of %s was made of: the log was rewritten, or it is another log",
				c.Seq, c.Time.Format(time.RFC3339))}
		}
		v.report.Checkpoints++
		v.report.Signed = max(v.report.Signed, c.Seq)
	}
	v.report.Head = v.head.String()
	return v.report, nil
}
