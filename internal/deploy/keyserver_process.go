package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// KeyServerSupported tells whether this system can run a key server as a
// process of its own.
func KeyServerSupported() error {
	if runtime.GOOS == "windows" {
		return &Error{
			Summary: "Key server not supported on Windows",
			Err:     fmt.Errorf("run key server as a process: %w on %s", errors.ErrUnsupported, runtime.GOOS),
			Remedy:  "Run Terraform on Linux or macOS for this resource.",
		}
	}
	return nil
}

// childProcess is a server started by this process.
type childProcess struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has exited
	err  error         // how, once gone is closed
}

// startDetached starts a server that outlives this process: in a session of
// its own, so that Ctrl-C in a terminal does not reach it, with its output
// going to the log. Its arguments and environment hold nothing secret, since
// every user of the machine may be able to read them.
func startDetached(program, directory string, files KeyServerFiles) (*childProcess, error) {
	log, err := os.OpenFile(files.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	// Its life does not end with any context of this process.
	cmd := exec.CommandContext(context.Background(), program, keyServerArgs(files)...) //nolint:gosec // The operator names the program.
	cmd.Dir = directory
	cmd.Env = keyServerEnvironment(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &childProcess{cmd: cmd, gone: make(chan struct{})}
	go func() { // also reaps it, if it dies before this process
		c.err = cmd.Wait()
		close(c.gone)
	}()
	return c, nil
}

func keyServerArgs(files KeyServerFiles) []string {
	return []string{"keyserver", "serve", "--config", files.Config, "--state-file", files.State}
}

// waitReady waits until the child says that it listens.
func (c *childProcess) waitReady(ctx context.Context, stateFile string) (*keyserver.State, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.gone:
			cancel(fmt.Errorf("it ended at once: %w", exitReason(c.err)))
		case <-ctx.Done():
		}
	}()
	return waitState(ctx, stateFile, func(s *keyserver.State) bool { return s.PID == c.cmd.Process.Pid })
}

func exitReason(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// kill ends the child. It is ours and nobody else waits for it, so its process
// id cannot have been reused.
func (c *childProcess) kill() {
	_ = c.cmd.Process.Kill()
	<-c.gone
}

// findKeyServer returns a handle of the living server that holds a state file.
//
// The process id in the file is that of the lock's holder: a server empties
// the file when it takes the lock. The lock is looked at before and after the
// handle is made, so the server lived while it was made, and where handles are
// of processes rather than of ids (Linux 5.4), nothing else can be hit by it.
func findKeyServer(stateFile string) (*os.Process, *keyserver.State, error) {
	state, err := serverState(stateFile)
	if err != nil {
		return nil, nil, err
	}
	if state == nil || state.PID <= 0 {
		return nil, nil, &Error{Summary: "Key server not ready",
			Err:    fmt.Errorf("find key server of %s: it is just starting or ending", stateFile),
			Remedy: "Wait a moment and run Terraform again."}
	}
	process, err := os.FindProcess(state.PID)
	if err != nil {
		return nil, nil, fmt.Errorf("find process %d: %w", state.PID, err)
	}
	again, err := serverState(stateFile)
	if err != nil {
		return nil, nil, err
	}
	if again == nil || again.PID != state.PID || !again.Started.Equal(state.Started) || !isKeyServerOf(state.PID, stateFile) {
		return nil, nil, &Error{Summary: "Key server not found",
			Err: fmt.Errorf("find process %d: it is not a key server of this directory, although something holds %s", state.PID, stateFile),
			Remedy: "It may run in another container, or in another process namespace. Find out which process holds the file " +
				"(fuser, lsof) and end it there. Nothing is signalled on a guess."}
	}
	return process, again, nil
}

// isKeyServerOf tells whether a process was started as the server of a state
// file. A directory that is shared between containers may hold the id of a
// process elsewhere, which here is another program.
func isKeyServerOf(pid int, stateFile string) bool {
	path, err := realPath(stateFile)
	if err != nil {
		return false
	}
	return strings.HasSuffix(commandLine(pid), " --state-file "+path)
}

// commandLine returns the arguments of a process, separated by spaces; it is
// empty when there is no such process.
func commandLine(pid int) string {
	if data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil {
		return strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ")
	}
	ctx, cancel := context.WithTimeout(context.Background(), killPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // A number.
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
