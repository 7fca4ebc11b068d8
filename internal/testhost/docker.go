package testhost

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

var daemon struct {
	sync.Mutex
	dir string
	cmd *exec.Cmd
}

// DockerHost returns the address of a Docker daemon ("unix://...") that is
// started once for all tests of a process. The test's TestMain must call
// [StopDocker] at the end.
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
	if daemon.cmd == nil {
		startDocker(tb, program)
	}
	return "unix://" + filepath.Join(daemon.dir, "docker.sock")
}

func startDocker(tb testing.TB, program string) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "ccdocker") //nolint:usetesting // It outlives the test, and the path of a socket must be short.
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, filepath.Join(dir, "config.json"), "{}")
	logName := filepath.Join(dir, "log")
	log, err := os.Create(logName)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	//nolint:gosec // A test starts what it finds.
	cmd := exec.CommandContext(context.Background(), program, "--config-file", filepath.Join(dir, "config.json"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--host", socket)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	daemon.dir, daemon.cmd = dir, cmd
	waitFor(tb, logName, func() bool {
		return exec.CommandContext(context.Background(), "docker", "-H", socket, "version").Run() == nil //nolint:gosec // As above.
	})
}

// StopDocker ends the daemon, if one was started, and removes what it left.
func StopDocker() {
	daemon.Lock()
	defer daemon.Unlock()
	if daemon.cmd == nil {
		return
	}
	_ = daemon.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(30*time.Second, func() { _ = daemon.cmd.Process.Kill() })
	_ = daemon.cmd.Wait()
	kill.Stop()
	_ = os.RemoveAll(daemon.dir)
	daemon.cmd = nil
}

// start starts a program that is ended with the test.
func start(tb testing.TB, logName, dir, program string, args ...string) {
	tb.Helper()
	log, err := os.Create(logName)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(context.Background(), program, args...) //nolint:gosec // As above.
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func waitFor(tb testing.TB, logName string, ready func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(logName)
			tb.Fatalf("it does not get ready:\n%s", text[max(0, len(text)-4000):])
		}
	}
}
