package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// Local is the machine this program runs on.
type Local struct{}

var _ Executor = Local{}

// String names the machine.
func (Local) String() string { return "this machine" }

// Close does nothing.
func (Local) Close() error { return nil }

// localVariables are the environment variables that programs are given. What
// else is in the environment, above all a cloud account's keys, stays here.
var localVariables = []string{
	"HOME", "PATH", "TMPDIR", "TZ", "LANG", "LC_ALL", "USER", "LOGNAME", "XDG_RUNTIME_DIR",
	"DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION",
}

func localEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return !slices.Contains(localVariables, name)
	})
}

// Run implements [Executor].
func (l Local) Run(ctx context.Context, c Command) error {
	if err := checkArgs(c.Args); err != nil {
		return err
	}
	var stderr tail
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...) //nolint:gosec // Running what it is told is its purpose.
	cmd.Env = localEnvironment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, &stderr
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(&stderr, c.Stderr)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	err := cmd.Run()
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("run %s on %s: %w", Quote(c.Args), l, context.Cause(ctx))
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		e := &ExitError{Command: Quote(c.Args), Host: l.String(), Code: exit.ExitCode(), Stderr: stderr.String()}
		e.Signal = endingSignal(exit.ProcessState)
		return e
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		// As a shell says it, so that callers need to know one way only.
		return &ExitError{Command: Quote(c.Args), Host: l.String(), Code: 127, Stderr: c.Args[0] + ": not found"}
	case err != nil:
		return fmt.Errorf("run %s on %s: %w", Quote(c.Args), l, err)
	}
	return nil
}

// Put implements [Executor].
func (l Local) Put(ctx context.Context, f File) error {
	fail := func(err error) error { return fmt.Errorf("put %s on %s: %w", f.Path, l, err) }
	if !filepath.IsAbs(f.Path) {
		return fail(errNotAbsolute)
	}
	tmp, err := atomicfile.Create(f.Path, f.Mode)
	if err != nil {
		return fail(err)
	}
	defer tmp.Abort()
	if f.Owner != nil {
		if err := tmp.Chown(f.Owner.UID, f.Owner.GID); err != nil {
			return fail(err)
		}
	}
	sent := sha256.New()
	from := &progressReader{r: io.TeeReader(io.NewSectionReader(f.Body, 0, f.Size), sent), ctx: ctx, told: f.Progress}
	n, err := io.Copy(tmp, from)
	switch {
	case err != nil:
		return fail(err)
	case n != f.Size:
		return fail(fmt.Errorf("the source ended after %d of %d bytes", n, f.Size))
	}
	found := sha256.New()
	if _, err := io.Copy(found, io.NewSectionReader(tmp.File, 0, f.Size)); err != nil {
		return fail(err)
	}
	if string(sent.Sum(nil)) != string(found.Sum(nil)) {
		return fail(errors.New("what was written is not what was read: the disk is broken"))
	}
	if err := tmp.Commit(); err != nil {
		return fail(err)
	}
	return nil
}

// Get implements [Executor].
func (l Local) Get(ctx context.Context, path string, limit int64) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("get %s from %s: %w", path, l, context.Cause(ctx))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("get file from %s: %w", l, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s from %s: %w", path, l, err)
	}
	return data, nil
}

// progressReader tells how far it is read, and stops when the context does.
type progressReader struct {
	r    io.Reader
	ctx  context.Context
	told func(int64)
	n    int64
}

func (p *progressReader) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, context.Cause(p.ctx)
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	if p.told != nil && n > 0 {
		p.told(p.n)
	}
	return n, err
}
