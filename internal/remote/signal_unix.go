//go:build unix

package remote

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// endingSignal names the signal that ended a process, without its "SIG".
func endingSignal(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return ""
	}
	return strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
}
