package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Error says where a log is not what was written.
type Error struct {
	File    string // of several; empty when there is one
	Line    int    // 1 for the first; 0: the file as a whole
	Problem string // what was found, and what it means
	// NotALog: the file is something else altogether.
	NotALog bool
}

// Error implements error.
func (e *Error) Error() string {
	where := ""
	if e.File != "" {
		where = e.File + ": "
	}
	if e.Line != 0 {
		where += fmt.Sprintf("line %d: ", e.Line)
	}
	return "verify audit log: " + where + e.Problem
}

// Report is what a verified log holds.
type Report struct {
	Files       int            `json:"files"`
	Entries     uint64         `json:"entries"`     // of the log up to its end, whether or not its first files were there
	FirstEntry  uint64         `json:"first_entry"` // 1 unless its first files were not there
	Head        string         `json:"head"`        // SHA-256 of the last entry, in hex
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
	// AllowMissingBeginning accepts files that begin in the middle of a log, where the server has signed what was before
	// them. It needs Verifier.
	AllowMissingBeginning bool
	// Joined says that files which the log went on in follow each other in one, as [Options].Copy receives them.
	Joined bool
}

// Verify reads a log that is one file from its beginning and finds any entry that was changed, removed, moved or added. The
// error is an *Error unless reading failed.
func Verify(r io.Reader, opts VerifyOptions) (*Report, error) {
	v := newVerifier(opts)
	if err := v.read(r); err != nil {
		return nil, err
	}
	return v.finish()
}

// VerifyFiles is Verify for a log that went on in other files. They are given in order, or as the log's path alone: the
// former files beside it are found then. It may be used while the server writes.
func VerifyFiles(paths []string, opts VerifyOptions) (*Report, error) {
	files, err := openAll(paths)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	v := newVerifier(opts)
	for _, f := range files {
		err := v.read(f)
		var failure *Error
		if len(files) > 1 && errors.As(err, &failure) {
			failure.File = f.Name()
		}
		if err != nil {
			return nil, err
		}
	}
	return v.finish()
}

// openAll opens the files of a log; those that it returns are to be closed, also after an error.
func openAll(paths []string) (files []*os.File, err error) {
	add := func(path string) error {
		f, err := os.Open(path)
		if err == nil {
			files = append(files, f)
		}
		return err
	}
	if len(paths) != 1 {
		for _, path := range paths {
			if err := add(path); err != nil {
				return files, err
			}
		}
		return files, nil
	}
	// The last one first: should it be moved away after that, it is known again. While that happens there is none for a
	// moment.
	err = add(paths[0])
	earlier, lerr := formerFiles(paths[0])
	for tries := 0; errors.Is(err, fs.ErrNotExist) && len(earlier) > 0 && tries < 50; tries++ {
		time.Sleep(10 * time.Millisecond)
		err = add(paths[0])
		earlier, lerr = formerFiles(paths[0])
	}
	if err = cmp.Or(err, lerr); err != nil {
		return files, err
	}
	last, err := files[0].Stat()
	if err != nil {
		return files, err
	}
	for _, path := range earlier {
		info, err := os.Stat(path)
		if err != nil {
			return files, err
		}
		if os.SameFile(info, last) {
			break
		}
		if err := add(path); err != nil {
			return files, err
		}
	}
	return append(files[1:], files[0]), nil
}

func newVerifier(opts VerifyOptions) *verifier {
	v := &verifier{opts: opts, report: &Report{Events: map[string]int{}}, heads: map[uint64]hash{}}
	for _, c := range opts.Checkpoints {
		v.heads[c.Seq] = hash{}
	}
	return v
}

// read checks a file.
func (v *verifier) read(r io.Reader) error {
	v.report.Files++
	lines := bufio.NewReaderSize(r, maxLine+1)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			if n == 1 && v.report.Entries > 0 {
				return &Error{NotALog: true, Problem: "it is empty, and every file of an audit log has an entry"}
			}
			return nil
		case errors.Is(err, io.EOF):
			if n == 1 {
				return &Error{NotALog: true, Problem: "it is not an audit log"}
			}
			return &Error{Line: n, Problem: "the file ends in the middle of an entry: it was cut off, or its server was killed while it wrote and has not been started since"}
		case errors.Is(err, bufio.ErrBufferFull):
			return &Error{Line: n, NotALog: n == 1, Problem: fmt.Sprintf("it is longer than %d bytes, which no entry is", maxLine)}
		case err != nil:
			return fmt.Errorf("read audit log: %w", err)
		}
		if failure := v.line(line[:len(line)-1], n == 1); failure != nil {
			failure.Line = n
			failure.NotALog = failure.NotALog && n == 1
			return failure
		}
	}
}

type verifier struct {
	opts   VerifyOptions
	report *Report
	head   hash
	heads  map[uint64]hash // of the entries that checkpoints speak of
}

// line checks the next entry; begins says that a file begins with it.
func (v *verifier) line(line []byte, begins bool) *Error {
	var e entry
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || dec.InputOffset() != int64(len(line)) || e.Seq == 0 || e.Event == "" {
		return &Error{NotALog: true, Problem: "it is not an entry"}
	}
	if v.report.Entries == 0 && e.Event == eventContinue && e.Seq > 1 && v.opts.AllowMissingBeginning {
		if failure := v.beginLater(&e); failure != nil {
			return failure
		}
	}
	want := v.report.Entries + 1
	switch {
	case e.Seq > want && want == 1 && e.Event == eventContinue:
		return &Error{Problem: fmt.Sprintf("the log begins with entry %d: what was before it is in a file that is missing here", e.Seq)}
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
	case begins != (e.Event == eventBegin || e.Event == eventContinue) && (!v.opts.Joined || e.Event != eventContinue):
		return &Error{Problem: fmt.Sprintf("entry %d, %q, is not where files are cut: they were joined or cut by somebody else", e.Seq, e.Event)}
	}
	if (e.Event == eventCheckpoint || e.Event == eventContinue) && v.opts.Verifier != nil {
		if failure := v.checkpoint(&e); failure != nil {
			return failure
		}
	}
	if v.report.FirstEntry == 0 {
		v.report.First, v.report.FirstEntry = e.Time, e.Seq
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
	if e.Event == eventContinue && data.Note == "" {
		return nil // written by a server without a key
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

// beginLater takes what a server has signed of the files before for what it would have found in them.
func (v *verifier) beginLater(e *entry) *Error {
	if v.opts.Verifier == nil {
		return &Error{Problem: "whether something is missing before it only a verification key can tell"}
	}
	var data struct {
		Note string `json:"note"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil || data.Note == "" {
		return &Error{Problem: fmt.Sprintf("the log begins with entry %d, and the server has not signed what was before it", e.Seq)}
	}
	c, err := ReadCheckpoint([]byte(data.Note), v.opts.Verifier)
	if err != nil {
		return &Error{Problem: err.Error()}
	}
	v.report.Entries, v.head = c.Seq, c.Head
	if _, wanted := v.heads[c.Seq]; wanted {
		v.heads[c.Seq] = c.Head
	}
	return nil
}

func (v *verifier) finish() (*Report, error) {
	if v.report.Entries == 0 {
		return nil, &Error{NotALog: true, Problem: "it is empty, and even a new audit log has an entry"}
	}
	for _, c := range v.opts.Checkpoints {
		if c.Seq+1 < v.report.FirstEntry {
			continue // of a file that is not here
		}
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
