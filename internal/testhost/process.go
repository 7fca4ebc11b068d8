package testhost

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

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
