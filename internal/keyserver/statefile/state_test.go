//go:build unix

package statefile

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary play another process that holds a state file until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("STATEFILE_TEST_HOLD"); path != "" {
		f, err := Create(path)
		if err == nil {
			err = f.Write(State{PID: os.Getpid(), Listen: "127.0.0.1:4433"})
		}
		if err != nil {
			panic(err)
		}
		if _, err := os.Stdout.WriteString("held\n"); err != nil {
			panic(err)
		}
		// Not select {}: the runtime would call that a deadlock and end the process before it is killed.
		time.Sleep(time.Minute)
		runtime.KeepAlive(f)
	}
	m.Run()
}

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if s, err := Read(path); s != nil || err != nil {
		t.Fatalf("no file: %v, %v", s, err)
	}
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Read(path); err != nil || s == nil || s.PID != 0 {
		t.Errorf("a server that starts: %v, %v", s, err)
	}
	want := State{
		PID: 4711, Started: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC), ConfigSHA256: strings.Repeat("ab", 32),
		Listen: "[::]:4433", Admin: "127.0.0.1:9433", Version: "v1.2.3",
	}
	if err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(path); err != nil || !cmp.Equal(s, &want) {
		t.Errorf("read %+v, error %v", s, err)
	}
	// Shorter than what was there before.
	want = State{PID: 1, Listen: ":1"}
	if err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(path); err != nil || !cmp.Equal(s, &want) {
		t.Errorf("read %+v, error %v", s, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pid", "started", "config_sha256", "listen", "version"} {
		if _, ok := members[name]; !ok {
			t.Errorf("the file has no %s: %s", name, raw)
		}
	}
	if _, err := Create(path); !errors.Is(err, ErrInUse) || err.Error() != "lock state file "+path+": another running key server holds it" {
		t.Errorf("a second server: %v", err)
	}
	if s, err := Read(path); err != nil || s == nil || s.PID != 1 {
		t.Errorf("the second server changed the file: %v, %v", s, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(path); err != nil || len(raw) != 0 {
		t.Errorf("after a clean end the file holds %q, %v", raw, err)
	}
	if s, err := Read(path); s != nil || err != nil {
		t.Errorf("after a clean end: %v, %v", s, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestKilledServer leaves content and no lock behind: it does not run.
func TestKilledServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "STATEFILE_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(path); err != nil || s == nil || s.PID != cmd.Process.Pid {
		t.Errorf("another process' state: %+v, %v", s, err)
	}
	if _, err := Create(path); !errors.Is(err, ErrInUse) {
		t.Errorf("the file of another process can be taken: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if raw, err := os.ReadFile(path); err != nil || len(raw) == 0 {
		t.Errorf("the killed server left %q, %v: the test shows nothing", raw, err)
	}
	if s, err := Read(path); s != nil || err != nil {
		t.Errorf("the killed server runs: %+v, %v", s, err)
	}
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Read(path); err != nil || s == nil || s.PID != 0 {
		t.Errorf("the next server begins with %+v, %v", s, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(filepath.Join(dir, "absent", "state")); err == nil || !strings.HasPrefix(err.Error(), "open state file: ") {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Create(dir); err == nil || !strings.HasPrefix(err.Error(), "open state file: ") {
		t.Errorf("a directory: %v", err)
	}
	path := filepath.Join(dir, "state")
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.f.WriteString("nonsense"); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), "read state file "+path+": ") {
		t.Errorf("nonsense: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(State{}); err == nil {
		t.Error("a closed state file can be written")
	}
	if err := f.Close(); err == nil {
		t.Error("it can be closed twice")
	}
}
