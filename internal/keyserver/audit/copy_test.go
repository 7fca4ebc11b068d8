package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brokenPipe takes so many bytes, and then no more.
type brokenPipe struct{ left int }

func (p *brokenPipe) Write(b []byte) (int, error) {
	n := min(p.left, len(b))
	p.left -= n
	if n < len(b) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

// readAll is a log's files one after the other.
func readAll(t *testing.T, path string) []byte {
	t.Helper()
	files, err := Files(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw...)
	}
	return all
}

// TestCopy: what was collected is the log, whole and in order, over rotation and restart, with its checkpoints.
func TestCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	signer, verifier := newKey(t)
	var collected bytes.Buffer
	opts := Options{Copy: &collected, RotateSize: 4 << 10, Signer: signer}
	for run := range 2 {
		l, err := Open(path, opts)
		if err != nil {
			t.Fatal(err)
		}
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := range 25 {
					if _, err := l.Append("release", map[string]string{"of": fmt.Sprintf("run %d writer %d entry %d", run, w, i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := Files(path); err != nil || len(files) < 3 {
		t.Fatalf("the log is in %d files: it was to go on in others; %v", len(files), err)
	}
	if diff := cmp.Diff(string(readAll(t, path)), collected.String()); diff != "" {
		t.Errorf("the files and what was collected (-files +collected):\n%s", diff)
	}
	if r := mustVerify(t, collected.Bytes(), VerifyOptions{Verifier: verifier, Joined: true}); r.Events["release"] != 200 || r.Signed == 0 {
		t.Errorf("report %+v", r)
	}
	// That files are joined excuses nothing else.
	lines := bytes.SplitAfter(collected.Bytes(), []byte("\n"))
	for _, tt := range []struct {
		name string
		raw  []byte
		opts VerifyOptions
		err  string
	}{
		{"unannounced", collected.Bytes(), VerifyOptions{}, "is not where files are cut: they were joined or cut by somebody else"},
		{"with a gap", bytes.Join(append(lines[:9:9], lines[10:]...), nil), VerifyOptions{Joined: true}, "line 10: entry 11 follows entry 9: those between are missing"},
		{"begun anew", append(bytes.Clone(collected.Bytes()), lines[0]...), VerifyOptions{Joined: true}, "it was moved or repeated"},
	} {
		if _, err := Verify(bytes.NewReader(tt.raw), tt.opts); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.err)
		}
	}
}

// seen is a Copy that looks, at each write, at what the file holds.
type seen struct {
	t    *testing.T
	path string
	all  []byte
}

func (s *seen) Write(b []byte) (int, error) {
	s.all = append(s.all, b...)
	if raw, err := os.ReadFile(s.path); err != nil || !bytes.Equal(raw, s.all) {
		s.t.Errorf("copied is %q before the file had it: it holds %q, %v", b, raw, err)
	}
	return len(b), nil
}

// TestNothingIsCopiedThatTheFileHasNot: the file is ahead of the copy, never behind, and an entry is acknowledged after both.
func TestNothingIsCopiedThatTheFileHasNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	s := &seen{t: t, path: path}
	l, err := Open(path, Options{Copy: s})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := l.Append("release", i); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(s.all, fmt.Appendf(nil, "\"data\":%d}\n", i)) {
			t.Fatalf("entry %d was acknowledged before it was copied", i)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestACopyThatFails: no more is acknowledged, whatever the file could take; the file stays a log.
func TestACopyThatFails(t *testing.T) {
	for _, rotate := range []int64{0, 1} { // an entry that is synced as usual, and one with which a file is full
		path := filepath.Join(t.TempDir(), "audit.log")
		pipe := &brokenPipe{left: 1 << 20}
		l, err := Open(path, Options{Copy: pipe, RotateSize: rotate})
		if err != nil {
			t.Fatal(err)
		}
		pipe.left = 10
		for range 2 {
			_, err := l.Append("release", nil)
			if !errors.Is(err, io.ErrClosedPipe) || !strings.Contains(err.Error(), "write audit log: copy: ") ||
				!strings.Contains(err.Error(), "restart the server when its standard output is well") {
				t.Errorf("with a broken pipe: %v", err)
			}
			if l.Err() == nil {
				t.Error("the log says that it is well")
			}
			pipe.left = 1 << 20 // a line that is there by half cannot be completed
		}
		_ = l.Close()
		if rotate == 0 {
			mustVerify(t, readAll(t, path), VerifyOptions{})
		}
	}
	pipe := &brokenPipe{}
	if _, err := Open(filepath.Join(t.TempDir(), "audit.log"), Options{Copy: pipe}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a log whose beginning cannot be copied: %v", err)
	}
}

// TestNothingIsCopiedThatMayBeLost: what the device did not take for good is not handed on.
func TestNothingIsCopiedThatMayBeLost(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "audit.log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var collected bytes.Buffer
	device := &faulty{file: f}
	l, err := open(f.Name(), device, 0, Options{Copy: &collected})
	if err != nil {
		t.Fatal(err)
	}
	before := collected.String()
	device.sync = syscall.EIO
	if _, err := l.Append("release", nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	_ = l.Close()
	if collected.String() != before || !strings.Contains(before, `"event":"begin"`) {
		t.Errorf("copied is %q, before the device failed %q", collected.String(), before)
	}
}

// TestTheBeginningOfAFileIsCopied though nothing comes after it.
func TestTheBeginningOfAFileIsCopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var collected bytes.Buffer
	l, err := Open(path, Options{Copy: &collected, RotateSize: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append("release", strings.Repeat("x", 1<<10)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if want := string(readAll(t, path)); collected.String() != want || !strings.HasSuffix(want, "}\n") || !strings.Contains(want, `"event":"continue"`) {
		t.Errorf("the files hold %q, copied is %q", want, collected.String())
	}
}
