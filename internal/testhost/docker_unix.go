//go:build unix

package testhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// daemon is this process's share in the Docker daemon of all tests. Two daemons
// side by side would give their containers the same addresses on the same
// bridge, so that a test could reach the container of another.
var daemon struct {
	sync.Mutex
	users *os.File // locked for reading while in use
}

// daemonDir is where the daemon keeps everything. The path of a socket must be
// short.
func daemonDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("cc-docker-%d", os.Geteuid()))
}

// DockerHost returns the address of a Docker daemon ("unix://...") that the
// tests of all packages share, and sets DOCKER_HOST to it in this process. The
// first process that needs it starts it and the last one ends it: the test's
// TestMain must call [StopDocker] at the end. Containers and images of others
// are in it too, so a test gives its own names that nobody else has.
func DockerHost(tb testing.TB) string {
	tb.Helper()
	program := find("dockerd")
	if program == "" || find("docker") == "" {
		testshared.Missing(tb, "dockerd is not installed (package docker.io)")
	}
	if os.Geteuid() != 0 {
		testshared.Missing(tb, "a Docker daemon of one's own needs root")
	}
	daemon.Lock()
	defer daemon.Unlock()
	host := "unix://" + filepath.Join(daemonDir(), "docker.sock")
	if daemon.users == nil {
		users, err := joinDaemon(tb, program, host)
		if err != nil {
			tb.Fatal(err)
		}
		daemon.users = users
		if err := os.Setenv("DOCKER_HOST", host); err != nil { //nolint:usetesting // For all tests of the process.
			tb.Fatal(err)
		}
	}
	return host
}

// locked runs do while no other process starts or ends the daemon.
func locked(do func() error) error {
	if err := os.MkdirAll(daemonDir(), 0o700); err != nil {
		return err
	}
	gate, err := lockFile("gate", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer func() { _ = gate.Close() }()
	return do()
}

func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(daemonDir(), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// joinDaemon takes part in the daemon, and starts it if it does not run.
func joinDaemon(tb testing.TB, program, host string) (users *os.File, err error) {
	tb.Helper()
	err = locked(func() error {
		if users, err = lockFile("users", syscall.LOCK_SH); err != nil {
			return err
		}
		answers := func() bool {
			return exec.CommandContext(context.Background(), "docker", "-H", host, "version").Run() == nil //nolint:gosec // A test's own.
		}
		if answers() {
			return nil
		}
		stopDaemon() // one that hangs
		log := filepath.Join(daemonDir(), "log")
		if err := startDaemon(program, host, log); err != nil {
			return err
		}
		waitFor(tb, log, answers)
		return nil
	})
	return users, err
}

func startDaemon(program, host, logName string) error {
	dir := daemonDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600); err != nil {
		return err
	}
	log, err := os.Create(logName)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	//nolint:gosec // A test starts what it finds.
	cmd := exec.CommandContext(context.Background(), program, "--config-file", filepath.Join(dir, "config.json"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--host", host)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process if others use it
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// StopDocker ends this process's share in the daemon, and the daemon if nobody
// else uses it.
func StopDocker() {
	daemon.Lock()
	defer daemon.Unlock()
	if daemon.users == nil {
		return
	}
	_ = locked(func() error {
		fd := int(daemon.users.Fd())
		if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil && stopDaemon() {
			entries, _ := os.ReadDir(daemonDir())
			for _, e := range entries {
				if e.Name() != "gate" && e.Name() != "users" {
					_ = os.RemoveAll(filepath.Join(daemonDir(), e.Name()))
				}
			}
		}
		return daemon.users.Close()
	})
	daemon.users = nil
}

// stopDaemon ends the daemon and waits until it is gone.
func stopDaemon() bool {
	text, err := os.ReadFile(filepath.Join(daemonDir(), "pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return false
	}
	// A process id may have gone to another program since.
	runs := func() bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && strings.Contains(string(line), daemonDir())
	}
	for i := 0; runs(); i++ {
		switch {
		case i == 0:
			_ = syscall.Kill(pid, syscall.SIGTERM)
		case i == 600:
			_ = syscall.Kill(pid, syscall.SIGKILL)
		case i > 700:
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return true
}
