package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Run implements [Executor].
func (x *SSH) Run(ctx context.Context, c Command) error {
	if err := checkArgs(c.Args); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("run %s on %s: %w", Quote(c.Args), x, err) }
	if err := ctx.Err(); err != nil {
		return fail(context.Cause(ctx))
	}
	session, err := x.client.NewSession()
	if err != nil {
		return fail(lost(err))
	}
	defer func() { _ = session.Close() }()
	var stderr tail
	toStderr := io.Writer(&stderr)
	if c.Stderr != nil {
		toStderr = io.MultiWriter(&stderr, c.Stderr)
	}
	pid := newPIDFilter(toStderr)
	session.Stdin, session.Stdout, session.Stderr = c.Stdin, c.Stdout, pid
	if err := session.Start(x.line(pid.wrap(c.Args))); err != nil {
		return fail(lost(err))
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	select {
	case err = <-ended:
		pid.flush()
	case <-ctx.Done():
		x.stop(session, pid, ended)
		return fail(context.Cause(ctx))
	}
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case errors.As(err, &exit):
		e := &ExitError{Command: Quote(c.Args), Host: x.String(), Code: exit.ExitStatus(), Signal: exit.Signal(), Stderr: stderr.String()}
		if e.Signal != "" {
			e.Code = -1
		}
		return e
	case errors.As(err, &missing):
		return fail(fmt.Errorf("%w before it was known how the program ended", ErrConnectionLost))
	case err != nil:
		return fail(lost(err))
	}
	return nil
}

// line is what the user's shell is told to run. Each shell on the way gives
// place to the program, so that its own end is what is reported.
func (x *SSH) line(args []string) string {
	if x.config.Sudo {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	return "exec " + Quote(args)
}

// stop asks a program to end, and then leaves it. The channel is closed in
// either case: a program that writes then gets SIGPIPE.
func (x *SSH) stop(session *ssh.Session, pid *pidFilter, ended <-chan error) {
	asked := make(chan struct{})
	go func() { // it blocks when the host has gone
		defer close(asked)
		select {
		case <-pid.known: // a login shell may take its time before
			x.kill(pid.get())
		case <-time.After(stopPatience):
		}
	}()
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-ended: //nolint:errcheck // The caller has given up on it; how it ended is of no interest.
		_ = session.Close()
		select {
		case <-asked:
		case <-patience.C:
		}
	case <-patience.C:
		_ = session.Close()
	}
}

// kill signals a process from a session of its own. The protocol's signal
// request would be shorter, but OpenSSH refuses it in sessions of root.
func (x *SSH) kill(pid string) {
	session, err := x.client.NewSession()
	if err != nil {
		return
	}
	defer func() { _ = session.Close() }()
	_ = session.Run(x.line([]string{"kill", "-TERM", pid}))
}

// pidFilter learns the process id of a program from the first line of its
// standard error, which the shell before it writes, and passes on the rest.
type pidFilter struct {
	mark  string
	to    io.Writer
	known chan struct{} // closed when it is

	mu    sync.Mutex
	line  []byte // what may become that line
	found bool
	pid   string
}

func newPIDFilter(to io.Writer) *pidFilter {
	return &pidFilter{mark: "pid-" + rand.Text() + " ", to: to, known: make(chan struct{})}
}

// wrap puts the shell before a program.
func (p *pidFilter) wrap(args []string) []string {
	return append([]string{"sh", "-c", "echo " + p.mark + `$$ >&2; exec "$@"`, "sh"}, args...)
}

func (p *pidFilter) get() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Write implements io.Writer. A login shell may have said something before.
func (p *pidFilter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found {
		return p.to.Write(b)
	}
	p.line = append(p.line, b...)
	before, after, ok := bytes.Cut(p.line, []byte(p.mark))
	number, rest, whole := bytes.Cut(after, []byte("\n"))
	if !ok || !whole {
		return len(b), nil
	}
	p.found, p.pid, p.line = true, string(number), nil
	close(p.known)
	if _, err := p.to.Write(append(before, rest...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// flush passes on what was held back, if the shell never came to its line.
func (p *pidFilter) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.found {
		_, _ = p.to.Write(p.line)
		p.line = nil
	}
}

// lost marks errors of the connection, as against those of what was asked.
func lost(err error) error {
	var refused *ssh.OpenChannelError
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrConnectionLost, err)
}
