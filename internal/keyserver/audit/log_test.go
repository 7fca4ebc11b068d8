package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/filelock"
)

// TestMain lets the test binary play a server that writes until it is killed, and tells of every acknowledged entry.
func TestMain(m *testing.M) {
	if path := os.Getenv("AUDIT_TEST_WRITE"); path != "" {
		l, err := Open(path, Options{RotateSize: 8 << 10})
		for i := 0; err == nil; i++ {
			var seq uint64
			if seq, err = l.Append("release", map[string]string{"filler": strings.Repeat("x", i%500)}); err == nil {
				_, err = fmt.Fprintln(os.Stdout, seq)
			}
		}
		panic(err)
	}
	m.Run()
}

func newKey(t *testing.T) (note.Signer, note.Verifier) {
	t.Helper()
	secret, public, err := GenerateKey("test.example.com")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSigner(secret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseVerifier(public + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// fill makes a log with a few entries and returns its content.
func fill(t *testing.T, path string, opts Options, events int) []byte {
	t.Helper()
	l, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if _, err := l.Append("release", map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mustVerify(t *testing.T, raw []byte, opts VerifyOptions) *Report {
	t.Helper()
	r, err := Verify(bytes.NewReader(raw), opts)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, raw)
	}
	return r
}

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	raw := fill(t, path, Options{}, 3)
	r := mustVerify(t, raw, VerifyOptions{})
	if r.Entries != 4 || r.Events["begin"] != 1 || r.Events["release"] != 3 || r.Checkpoints != 0 || r.Signed != 0 || r.Last.Before(r.First) {
		t.Errorf("report %+v", r)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	if !strings.HasPrefix(first, `{"seq":1,"time":"20`) || !strings.Contains(first, `"event":"begin","prev":"`+strings.Repeat("0", 64)+`","data":{"log":"`) {
		t.Errorf("the first entry is %s", first)
	}
	// Another process goes on where this one ended.
	raw = fill(t, path, Options{}, 2)
	if r := mustVerify(t, raw, VerifyOptions{}); r.Entries != 6 || r.Events["begin"] != 1 {
		t.Errorf("report %+v", r)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); runtime.GOOS == "linux" && !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("a second log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append("release", nil); err == nil || err.Error() != "write audit log: the log is closed" {
		t.Errorf("a closed log: %v", err)
	}
}

func TestConcurrentAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	signer, verifier := newKey(t)
	l, err := Open(path, Options{Signer: signer, Interval: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for range 8 {
		wg.Go(func() {
			for range 25 {
				seq, err := l.Append("release", "x")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if seen[seq] {
					t.Errorf("entry %d was acknowledged twice", seq)
				}
				seen[seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := mustVerify(t, raw, VerifyOptions{Verifier: verifier})
	if r.Events["release"] != 200 || r.Checkpoints != r.Events["checkpoint"] || r.Checkpoints < 200 {
		t.Errorf("report %+v", r)
	}
}

// TestTornEnds: whatever a killed process left of an entry is cut off, told of, and nothing else is lost.
func TestTornEnds(t *testing.T) {
	dir := t.TempDir()
	raw := fill(t, filepath.Join(dir, "whole"), Options{}, 2)
	lines := bytes.SplitAfter(raw, []byte("\n"))
	last := len(raw) - len(lines[2])
	for cut := last + 1; cut < len(raw); cut++ {
		path := filepath.Join(dir, "torn")
		if err := os.WriteFile(path, raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(bytes.NewReader(raw[:cut]), VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "line 3: the file ends in the middle of an entry") {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		again := fill(t, path, Options{}, 1)
		r := mustVerify(t, again, VerifyOptions{})
		if r.Entries != 4 || r.Events["recovered"] != 1 || !bytes.HasPrefix(again, raw[:last]) ||
			!bytes.Contains(again, fmt.Appendf(nil, `"removed_bytes":%d,`, cut-last)) {
			t.Fatalf("cut at %d: report %+v", cut, r)
		}
	}
	// Even the very first entry may be torn.
	path := filepath.Join(dir, "first")
	if err := os.WriteFile(path, raw[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := mustVerify(t, fill(t, path, Options{}, 0), VerifyOptions{}); r.Entries != 2 || r.Events["recovered"] != 1 {
		t.Errorf("report %+v", r)
	}
}

// TestKill kills a server that writes, again and again, at moments that nothing chooses: no acknowledged entry is lost, none
// is damaged, and the chain holds over all files. Every eight kibibytes there is a new file, so that some are killed in between.
func TestKill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	acknowledged := uint64(0)
	for round := range 30 {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), "AUDIT_TEST_WRITE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It is killed a moment after it has acknowledged an entry; what it acknowledged until then is still in the pipe.
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatalf("round %d: it did not begin: %v", round, cmd.Wait())
		}
		var kill *time.Timer
		for {
			seq, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil || seq <= acknowledged {
				t.Fatalf("round %d: %q after %d: %v", round, lines.Text(), acknowledged, err)
			}
			acknowledged = seq
			if kill == nil {
				kill = time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
			if !lines.Scan() {
				break
			}
		}
		_ = cmd.Wait()
		if r, err := VerifyFiles([]string{path}, VerifyOptions{}); err == nil && r.Entries < acknowledged {
			t.Fatalf("round %d: %d entries are left of %d acknowledged ones", round, r.Entries, acknowledged)
		}
	}
	fill(t, path, Options{}, 0)
	r, err := VerifyFiles([]string{path}, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Entries < acknowledged || r.Files < 2 {
		t.Errorf("%d entries in %d files are left of %d acknowledged ones", r.Entries, r.Files, acknowledged)
	}
	t.Logf("%d entries in %d files; %d times half an entry had to be cut off", r.Entries, r.Files, r.Events["recovered"])
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, content, err string }{
		{"text", "hello", "it is not an audit log"},
		{"lines of text", "hello\nworld\n", "its last line is not an entry; move the file away and keep it"},
		{"other JSON", "{}\n", "its last line is not an entry"},
		{"one endless line", strings.Repeat("{", 3*maxLine), "it does not end in an entry"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
		if raw, err := os.ReadFile(path); err != nil || string(raw) != tt.content {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
	if _, err := Open(filepath.Join(dir, "absent", "log"), Options{}); err == nil || !strings.HasPrefix(err.Error(), "open audit log: ") {
		t.Errorf("no directory: %v", err)
	}
}

func TestClockMayNotGoBack(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(-4 * time.Minute)
	if _, err := l.Append("release", nil); err != nil {
		t.Errorf("a small correction: %v", err)
	}
	now = now.Add(-2 * time.Minute)
	if _, err := l.Append("release", nil); !errors.Is(err, ErrClock) ||
		err.Error() != "write audit log: the clock has been turned back: it is 2026-11-02T11:54:00Z by this machine, and the last entry is of 2026-11-02T12:00:00Z; "+
			"set the clock; if it is right now and was ahead then, stop the server, move the log away with its former files and its checkpoint, keep them, and start a new one" {
		t.Errorf("six minutes back: %v", err)
	}
	if err := l.Err(); !errors.Is(err, ErrClock) {
		t.Errorf("state: %v", err)
	}
	now = now.Add(time.Hour)
	if _, err := l.Append("release", nil); err != nil || l.Err() != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// Nor over a restart.
	now = now.Add(-24 * time.Hour)
	l, err = Open(path, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append("start", nil); !errors.Is(err, ErrClock) {
		t.Errorf("yesterday: %v", err)
	}
	_ = l.Close()
}

// faulty is a file on a device that fails.
type faulty struct {
	file

	write, truncate, sync error
	partial               int // bytes of a failing write that arrive
}

func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		n, _ := f.file.WriteAt(p[:min(f.partial, len(p))], off)
		return n, f.write
	}
	return f.file.WriteAt(p, off)
}

func (f *faulty) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.file.Truncate(size)
}

func (f *faulty) Sync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.file.Sync()
}

func newFaulty(t *testing.T) (*Log, *faulty, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	device := &faulty{file: f}
	l, err := open(path, device, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l, device, path
}

func TestFullDisk(t *testing.T) {
	l, device, path := newFaulty(t)
	if _, err := l.Append("release", nil); err != nil {
		t.Fatal(err)
	}
	for partial := range 60 {
		device.write, device.partial = syscall.ENOSPC, partial
		if _, err := l.Append("release", nil); !errors.Is(err, syscall.ENOSPC) || !errors.Is(l.Err(), syscall.ENOSPC) {
			t.Fatalf("on a full disk: %v", err)
		}
		device.write = nil
		if _, err := l.Append("release", nil); err != nil || l.Err() != nil {
			t.Fatalf("after room was made: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if r := mustVerify(t, raw, VerifyOptions{}); r.Entries != 62 {
		t.Errorf("%d entries, want 62: one for each acknowledged", r.Entries)
	}
}

func TestBrokenDevices(t *testing.T) {
	l, device, _ := newFaulty(t)
	device.write, device.truncate, device.partial = syscall.EIO, syscall.EIO, 7
	if _, err := l.Append("release", nil); err == nil || !strings.Contains(err.Error(), "the half-written entry cannot be removed") {
		t.Errorf("write: %v", err)
	}
	device.write, device.truncate = nil, nil
	if _, err := l.Append("release", nil); err == nil || !strings.Contains(err.Error(), "cannot be removed") {
		t.Errorf("after half an entry: %v", err)
	}
	_ = l.Close()

	l, device, _ = newFaulty(t)
	device.sync = syscall.EIO
	if _, err := l.Append("release", nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	device.sync = nil
	if _, err := l.Append("release", nil); err == nil || !strings.Contains(err.Error(), "restart the server when the device is well") {
		t.Errorf("after a failed sync nothing can be acknowledged: %v", err)
	}
	_ = l.Close()
}

func TestEntriesThatCannotBeWritten(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "audit.log"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := l.Append("release", func() {}); err == nil || !strings.Contains(err.Error(), "encode release: ") {
		t.Errorf("not JSON: %v", err)
	}
	if _, err := l.Append("release", strings.Repeat("x", maxLine)); err == nil || !strings.Contains(err.Error(), "at most 1048576") {
		t.Errorf("too long: %v", err)
	}
	if seq, err := l.Append("release", nil); err != nil || seq != 2 {
		t.Errorf("afterwards: %d, %v", seq, err)
	}
}
