package resources_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The process list is looked at this often, and each process this many times
// from when it is first seen: a child has its parent's arguments until it runs
// its own program.
const (
	watchPace  = 8 * time.Millisecond
	watchLooks = 30
)

// watchProcesses notes what every user of the machine can see of the processes
// that run while it watches, and what their own user sees: arguments and
// environment. The function that it returns ends the watch and returns the
// notes, nil where there is no /proc.
func watchProcesses(t *testing.T) func() []byte {
	t.Helper()
	if runtime.GOOS != "linux" {
		return func() []byte { return nil }
	}
	var notes bytes.Buffer
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		seen := map[string]*watched{}
		for {
			lookAtProcesses(seen, &notes)
			select {
			case <-done:
				return
			case <-time.After(watchPace):
			}
		}
	}()
	stop := sync.OnceValue(func() []byte {
		close(done)
		<-ended
		return notes.Bytes()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// watched is a process as it was last seen.
type watched struct {
	looks                int
	arguments, variables []byte
}

func lookAtProcesses(seen map[string]*watched, notes *bytes.Buffer) {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	names, err := proc.Readdirnames(-1)
	_ = proc.Close()
	if err != nil {
		return
	}
	alive := make(map[string]*watched, len(names))
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		p := seen[name]
		if p == nil {
			p = &watched{}
		}
		alive[name] = p
		if p.looks++; p.looks > watchLooks {
			continue
		}
		note := func(last *[]byte, file string) {
			text, err := os.ReadFile(filepath.Join("/proc", name, file))
			if err != nil || bytes.Equal(text, *last) {
				return // it has ended, or is as it was
			}
			*last = text
			notes.WriteString(name + " " + file + ": ")
			notes.Write(text)
			notes.WriteByte('\n')
		}
		note(&p.arguments, "cmdline")
		note(&p.variables, "environ")
	}
	clear(seen) // numbers are given again
	for name, p := range alive {
		seen[name] = p
	}
}

// providersIn lists the provider's processes that work in a folder.
func providersIn(dir string) []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		at, err := os.Readlink(link)
		if err != nil || at != dir {
			continue
		}
		program, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if err != nil || filepath.Base(program) != "terraform-provider-cc" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestWatchProcesses sees what a process is given, and after its program has
// changed too.
func TestWatchProcesses(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	cmd := exec.Command("/bin/sh", "-c", "read line; exec cat", "watched-argument")
	cmd.Env = append(os.Environ(), "CC_WATCHED=watched-variable")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = input.Close(); _ = cmd.Wait() })
	seen, notes := map[string]*watched{}, new(bytes.Buffer)
	sees := func(want string) {
		t.Helper()
		for range watchLooks {
			lookAtProcesses(seen, notes)
			if bytes.Contains(notes.Bytes(), []byte(want)) {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("%q was not seen", want)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	sees(pid + " cmdline: /bin/sh\x00-c\x00read line; exec cat\x00watched-argument")
	sees("CC_WATCHED=watched-variable")
	seen[pid].looks = 0 // it may have taken long
	if _, err := input.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	sees(pid + " cmdline: cat\x00")
}
