package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Executor is a machine. It may be used from several goroutines at once.
type Executor interface {
	// Run runs a program and waits for its end.
	Run(ctx context.Context, c Command) error
	// Put makes or replaces a file. Its directory must exist.
	Put(ctx context.Context, f File) error
	// Get reads a file of at most limit bytes. The error wraps fs.ErrNotExist
	// where there is none.
	Get(ctx context.Context, path string, limit int64) ([]byte, error)
	// Close ends the connection; what runs on the machine may go on.
	Close() error
	// String names the machine in messages, such as "root@192.0.2.7:22".
	String() string
}

// Command is a program with its arguments.
type Command struct {
	// Args are the program and its arguments. They can be read by every user
	// of the machine, and they are shown in errors: no secret belongs here.
	Args []string
	// Stdin is what it reads; nil: nothing.
	Stdin io.Reader
	// Secret tells that Stdin must not be kept by anybody on the way.
	Secret bool
	// Stdout and Stderr take what it writes; nil: nobody.
	Stdout, Stderr io.Writer
}

// File is a file to be put on a machine.
type File struct {
	Path string      // absolute
	Mode fs.FileMode // permission bits
	Size int64       // of Body in bytes
	Body io.ReaderAt
	// Secret content is not resumed, since that would take a name derived from it.
	Secret bool
	// Owner is who it belongs to; nil: whoever puts it.
	Owner *Owner
	// Progress, if given, is told how many bytes have been written so far.
	Progress func(written int64)
}

// Owner is a numeric user and group.
type Owner struct{ UID, GID int }

// BytesFile is a file with small content.
func BytesFile(path string, data []byte, mode fs.FileMode) File {
	return File{Path: path, Mode: mode, Size: int64(len(data)), Body: bytes.NewReader(data)}
}

var errNotAbsolute = errors.New("the path is not absolute")

// ErrConnectionLost is wrapped by errors of an operation during which the
// connection broke: whether it was done is not known.
var ErrConnectionLost = errors.New("connection lost")

// ExitError is the failure of a program that ran.
type ExitError struct {
	Command string // as a shell would take it
	Host    string
	Code    int    // exit code; -1 when a signal ended it
	Signal  string // such as "KILL"
	Stderr  string // its end
}

// Error implements error.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != "" {
		how = "ended by signal " + e.Signal
	}
	text := fmt.Sprintf("run %s on %s: %s", e.Command, e.Host, how)
	if s := strings.TrimSpace(e.Stderr); s != "" {
		text += ": " + s
	}
	return text
}

// ExitCode returns the exit code of a program that ran and failed, 0 for nil,
// and false where it is not known.
func ExitCode(err error) (int, bool) {
	var exit *ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.Code, exit.Signal == ""
	default:
		return 0, false
	}
}

// maxOutput bounds what Output collects, in bytes.
const maxOutput = 16 << 20

// Output runs a program and returns what it writes to its standard output.
func Output(ctx context.Context, x Executor, args ...string) ([]byte, error) {
	var out limitedBuffer
	if err := x.Run(ctx, Command{Args: args, Stdout: &out}); err != nil {
		return nil, err
	}
	if out.over {
		return nil, fmt.Errorf("run %s on %s: it wrote more than %d bytes", Quote(args), x, maxOutput)
	}
	return out.data.Bytes(), nil
}

// limitedBuffer drops what is too much. It embeds no buffer, whose ReadFrom
// would go round the limit.
type limitedBuffer struct {
	data bytes.Buffer
	over bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if keep := maxOutput - b.data.Len(); len(p) > keep {
		b.over = true
		b.data.Write(p[:keep])
		return len(p), nil
	}
	return b.data.Write(p)
}

// Quote writes arguments so that a POSIX shell takes them apart into the same.
func Quote(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quoteArg(a)
	}
	return strings.Join(quoted, " ")
}

func quoteArg(a string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if a != "" && strings.IndexFunc(a, func(r rune) bool { return !plain(r) }) < 0 {
		return a
	}
	return "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
}

// checkArgs refuses what no machine can be given.
func checkArgs(args []string) error {
	if len(args) == 0 || args[0] == "" {
		return errors.New("run program: none is named")
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("run %s: an argument holds a NUL character", args[0])
		}
	}
	return nil
}

// tail keeps the end of what is written, for errors.
type tail struct{ data []byte }

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p[max(0, len(p)-tailSize):]...)
	if extra := len(t.data) - tailSize; extra > 0 {
		t.data = append(t.data[:0], t.data[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.data), "?") }

// stopPatience is how long a program that was asked to end is waited for.
const stopPatience = 3 * time.Second
