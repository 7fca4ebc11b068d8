package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/filelock"
)

// filled makes a log of several files.
func filled(t *testing.T, signer note.Signer, entries int) (path string, files []string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.log")
	fill(t, path, Options{Signer: signer, RotateSize: 2000}, entries)
	earlier, err := formerFiles(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(earlier) < 2 {
		t.Fatalf("%d former files", len(earlier))
	}
	return path, append(earlier, path)
}

func lines(t *testing.T, path string) []entry {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []entry
	for line := range bytes.Lines(raw) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestRotation(t *testing.T) {
	for _, signed := range []bool{false, true} {
		t.Run(fmt.Sprintf("signed %v", signed), func(t *testing.T) {
			var signer note.Signer
			var opts VerifyOptions
			if signed {
				signer, opts.Verifier = newKey(t)
			}
			path, files := filled(t, signer, 40)
			next := uint64(1)
			for i, f := range files {
				all := lines(t, f)
				if want := map[bool]string{true: eventBegin, false: eventContinue}[i == 0]; all[0].Event != want || all[0].Seq != next {
					t.Errorf("%s begins with %q, entry %d", f, all[0].Event, all[0].Seq)
				}
				if i < len(files)-1 && f != fmt.Sprintf("%s.%012d", path, next) {
					t.Errorf("%s begins with entry %d", f, next)
				}
				info, err := os.Stat(f)
				if err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" || info.Size() > 4000 {
					t.Errorf("%s: %v, %v", f, info, err)
				}
				next = all[len(all)-1].Seq + 1
			}
			for _, paths := range [][]string{{path}, files} {
				r, err := VerifyFiles(paths, opts)
				if err != nil || r.Entries != next-1 || r.FirstEntry != 1 || r.Files != len(files) || r.Events["release"] != 40 || (r.Signed > 0) != signed {
					t.Errorf("report %+v, %v", r, err)
				}
			}
			// Another process goes on, in the last file and in further ones.
			fill(t, path, Options{Signer: signer, RotateSize: 2000}, 10)
			if r, err := VerifyFiles([]string{path}, opts); err != nil || r.Events["release"] != 50 || r.Files <= len(files) {
				t.Errorf("report %+v, %v", r, err)
			}
		})
	}
}

// TestEveryChangeOfFilesIsFound: any missing, changed, exchanged, cut or joined file.
func TestEveryChangeOfFilesIsFound(t *testing.T) {
	signer, verifier := newKey(t)
	path, files := filled(t, signer, 40)
	stored, err := os.ReadFile(path + ".checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadCheckpoint(stored, verifier)
	if err != nil {
		t.Fatal(err)
	}
	opts := VerifyOptions{Verifier: verifier, Checkpoints: []*Checkpoint{c}}
	with := func(change func(files []string) []string) error {
		t.Helper()
		_, err := VerifyFiles(change(append([]string(nil), files...)), opts)
		return err
	}
	copyOf := func(i int, change func(raw []byte) []byte) func([]string) []string {
		raw, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(other, change(bytes.Clone(raw)), 0o600); err != nil {
			t.Fatal(err)
		}
		return func(files []string) []string {
			files[i] = other
			return files
		}
	}
	last := len(files) - 1
	for _, tt := range []struct {
		name   string
		change func(files []string) []string
		err    string
	}{
		{"nothing", func(f []string) []string { return f }, ""},
		{"first missing", func(f []string) []string { return f[1:] }, files[1] + ": line 1: the log begins with entry"},
		{"second missing", func(f []string) []string { return append(f[:1], f[2:]...) }, "those between are missing"},
		{"last missing", func(f []string) []string { return f[:last] }, "its end was cut off"},
		{"exchanged", func(f []string) []string { f[0], f[1] = f[1], f[0]; return f }, "what was before it is in a file that is missing here"},
		{"twice", func(f []string) []string { return append(f[:1], f...) }, "it was moved or repeated"},
		{"edited", copyOf(1, func(raw []byte) []byte { return bytes.Replace(raw, []byte("release"), []byte("refusal"), 1) }), "that one was changed or replaced"},
		{"last entry edited", copyOf(1, func(raw []byte) []byte {
			i := bytes.LastIndex(raw, []byte("release"))
			copy(raw[i:], "refusal")
			return raw
		}), files[2] + ": line 1: "},
		{"last entry removed", copyOf(1, func(raw []byte) []byte { return raw[:bytes.LastIndexByte(raw[:len(raw)-1], '\n')+1] }), files[2] + ": line 1: entry"},
		{"cut in an entry", copyOf(1, func(raw []byte) []byte { return raw[:len(raw)-5] }), "the file ends in the middle of an entry"},
		{"empty", copyOf(1, func([]byte) []byte { return nil }), "it is empty"},
		{"another file", copyOf(1, func([]byte) []byte { return []byte("hello") }), "it is not an audit log"},
		{"joined", copyOf(1, func(raw []byte) []byte {
			more, err := os.ReadFile(files[2])
			if err != nil {
				t.Fatal(err)
			}
			return append(raw, more...)
		}), `"continue", is not where files are cut`},
		{"note exchanged", copyOf(2, func(raw []byte) []byte {
			from, err := os.ReadFile(files[1])
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Replace(raw, []byte(noteOf(t, raw)), []byte(noteOf(t, from)), 1)
		}), "the log was rewritten"},
	} {
		if err := with(tt.change); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
	if _, err := VerifyFiles([]string{filepath.Join(t.TempDir(), "absent")}, opts); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestArchivedFiles verifies what is left when the first files have been taken away.
func TestArchivedFiles(t *testing.T) {
	signer, verifier := newKey(t)
	_, stranger := newKey(t)
	path, files := filled(t, signer, 40)
	whole, err := VerifyFiles([]string{path}, VerifyOptions{Verifier: verifier})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(files[0], files[0]+".archived"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		opts VerifyOptions
		err  string
	}{
		{VerifyOptions{Verifier: verifier}, "what was before it is in a file that is missing here"},
		{VerifyOptions{Verifier: verifier, AllowMissingBeginning: true}, ""},
		{VerifyOptions{Verifier: stranger, AllowMissingBeginning: true}, "read checkpoint: "},
		{VerifyOptions{AllowMissingBeginning: true}, "only a verification key can tell"},
	} {
		r, err := VerifyFiles([]string{path}, tt.opts)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%v, want %q", err, tt.err)
		}
		if err == nil && (r.Head != whole.Head || r.Entries != whole.Entries || r.FirstEntry < 2 || r.Files != len(files)-1) {
			t.Errorf("report %+v, want the end of %+v", r, whole)
		}
	}
	// A server without a key signs nothing, and then nothing of the beginning may be missing.
	path, files = filled(t, nil, 40)
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyFiles([]string{path}, VerifyOptions{Verifier: verifier, AllowMissingBeginning: true}); err == nil || !strings.Contains(err.Error(), "the server has not signed what was before it") {
		t.Errorf("unsigned: %v", err)
	}
}

// TestKilledBetweenRenames opens what a process leaves that came no further than to move the present file away.
func TestKilledBetweenRenames(t *testing.T) {
	path, files := filled(t, nil, 40)
	last := lines(t, path)
	if err := os.Rename(path, fmt.Sprintf("%s.%012d", path, last[0].Seq)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".next", []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, path, Options{RotateSize: 2000}, 1)
	r, err := VerifyFiles([]string{path}, VerifyOptions{})
	if err != nil || r.Files != len(files)+1 || r.Entries != last[len(last)-1].Seq+2 {
		t.Errorf("report %+v, %v", r, err)
	}
	if _, err := os.Stat(path + ".next"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what it had begun is still there: %v", err)
	}
	// While one process holds the log, moved away or not, another gets nothing.
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := os.Rename(path, fmt.Sprintf("%s.%012d", path, r.Entries)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); runtime.GOOS == "linux" && !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("a second log: %v", err)
	}
}

// TestRotationThatFails goes on in the present file, says so, and tries again.
func TestRotationThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, Options{RotateSize: 500})
	if err != nil {
		t.Fatal(err)
	}
	makeFile := l.create
	l.create = func(path string) (file, error) {
		f, err := makeFile(path)
		return &faulty{file: f, write: syscall.ENOSPC, partial: 3}, err
	}
	for i := range 6 {
		if _, err := l.Append("release", strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
		if err := l.Err(); (i > 1) != errors.Is(err, syscall.ENOSPC) && i > 1 {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if earlier, err := formerFiles(path); err != nil || len(earlier) != 0 {
		t.Errorf("former files %q, %v", earlier, err)
	}
	l.create = makeFile
	for range 3 {
		if _, err := l.Append("release", strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Err(); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := VerifyFiles([]string{path}, VerifyOptions{}); err != nil || r.Events["release"] != 9 || r.Files < 2 {
		t.Errorf("report %+v, %v", r, err)
	}

	// A former file is never replaced.
	path, files := filled(t, nil, 40)
	first := lines(t, path)[0].Seq
	inTheWay := fmt.Sprintf("%s.%012d", path, first)
	if err := os.WriteFile(inTheWay, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(path, Options{RotateSize: 2000}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := l.Append("release", strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Errorf("state: %v", err)
	}
	_ = l.Close()
	if raw, err := os.ReadFile(inTheWay); err != nil || string(raw) != "mine" {
		t.Errorf("it was replaced: %q, %v", raw, err)
	}
	if r, err := VerifyFiles(files, VerifyOptions{}); err != nil || r.Events["release"] != 60 {
		t.Errorf("report %+v, %v", r, err)
	}
}

// TestVerifyWhileItIsWritten never mistakes a new file for a missing one.
func TestVerifyWhileItIsWritten(t *testing.T) {
	signer, verifier := newKey(t)
	path := filepath.Join(t.TempDir(), "audit.log")
	var mu sync.Mutex
	var shipped []*Checkpoint
	l, err := Open(path, Options{Signer: signer, Interval: time.Nanosecond, RotateSize: 4000, CheckpointFile: path + "-elsewhere", Signed: func(c *Checkpoint, text []byte) {
		if read, err := ReadCheckpoint(text, verifier); err != nil || read.Seq != c.Seq {
			t.Errorf("checkpoint %s: %v", text, err)
		}
		mu.Lock()
		shipped = append(shipped, c)
		mu.Unlock()
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for range 25 {
				if _, err := l.Append("release", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		writers.Wait()
		close(done)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		mu.Lock()
		checkpoints := append([]*Checkpoint(nil), shipped...)
		mu.Unlock()
		_, err := VerifyFiles([]string{path}, VerifyOptions{Verifier: verifier, Checkpoints: checkpoints[:max(0, len(checkpoints)-1)]})
		// Only the entry that is being written may look as if it had been cut.
		if err != nil && !strings.Contains(err.Error(), "ends in the middle of an entry") {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyFiles([]string{path}, VerifyOptions{Verifier: verifier, Checkpoints: shipped})
	if err != nil || r.Events["release"] != 75 || r.Files < 5 || r.Checkpoints != 2*len(shipped) {
		t.Errorf("report %+v, %v, %d checkpoints", r, err, len(shipped))
	}
	if _, err := os.Stat(path + "-elsewhere"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".checkpoint"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a checkpoint beside the log: %v", err)
	}
}
