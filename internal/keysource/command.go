package keysource

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// DefaultCommandTimeout is how long a command may take.
	DefaultCommandTimeout = 30 * time.Second
	// lastWords is how much of what a command says on stderr is worth repeating, in bytes.
	lastWords = 512
	// longestSpelling bounds how long a key is that a command repeats there, in bytes.
	longestSpelling = 2 * maxText
)

// Command is a key that a program prints, such as a secret manager's client.
type Command struct {
	// Argv is the program's absolute path and its arguments. There is no shell.
	Argv []string
	Form Form // of the output; empty: Raw
	// Timeout is how long it may take; zero is DefaultCommandTimeout.
	Timeout time.Duration
	// PassEnvironment names the variables of this process that the program is given beside PATH, HOME and LANG.
	PassEnvironment []string
}

// Check tells what is wrong with the command, as far as it can be told without looking for the program.
func (c Command) Check() error {
	switch {
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return errors.New("it names no program")
	case !filepath.IsAbs(c.Argv[0]):
		return fmt.Errorf("%q is not an absolute path: which program runs must not depend on PATH", c.Argv[0])
	}
	for _, a := range c.Argv {
		if strings.ContainsRune(a, 0) {
			return errors.New("an argument holds a NUL byte")
		}
	}
	for _, name := range c.PassEnvironment {
		if err := CheckVariableName(name); err != nil {
			return err
		}
	}
	return nil
}

// Files implements Source: the program says nothing of when its key changes.
func (Command) Files() []string { return nil }

// String implements Source. Arguments are left out: they are for the program alone.
func (c Command) String() string {
	if len(c.Argv) == 0 {
		return "command"
	}
	return "command " + c.Argv[0]
}

// Read implements Source. It runs the program, with nothing on its stdin and in the root directory. A program that does not end
// in time is killed, on Unix with all its children.
func (c Command) Read(ctx context.Context, key *[Size]byte) error {
	clear(key[:])
	if err := c.Check(); err != nil {
		return fmt.Errorf("run command for wrap key: %w", err)
	}
	if err := checkProgram(c.Argv[0]); err != nil {
		return fmt.Errorf("run command for wrap key: %w", err)
	}
	limit := c.Timeout
	if limit <= 0 {
		limit = DefaultCommandTimeout
	}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bounded
	defer clear(out.buf[:])
	words := tail{limit: lastWords + longestSpelling}
	defer words.wipe()
	cmd := exec.CommandContext(timed, c.Argv[0], c.Argv[1:]...) //nolint:gosec // The operator names the program.
	cmd.Env = c.environment()
	cmd.Dir = string(filepath.Separator)
	cmd.Stdout, cmd.Stderr = &out, &words
	cmd.WaitDelay = 2 * time.Second
	killWithChildren(cmd)
	err := cmd.Run()
	switch {
	case timed.Err() != nil && ctx.Err() == nil:
		err = fmt.Errorf("it did not end within %v and was killed", limit)
	case ctx.Err() != nil:
		err = fmt.Errorf("it was killed: %w", ctx.Err())
	case out.over:
		err = fmt.Errorf("it printed more than %d bytes, and a key is %d", maxText, Size)
	case err == nil:
		if err = c.form().decode(out.buf[:out.n], key); err == nil {
			return nil
		}
		err = fmt.Errorf("its output is no key: %w", err)
	}
	if text := words.text(out.buf[:out.n]); text != "" {
		err = fmt.Errorf("%w; it said: %s", err, text)
	}
	return fmt.Errorf("run %s for wrap key: %w", c.Argv[0], err)
}

func (c Command) form() Form {
	if c.Form == "" {
		return Raw
	}
	return c.Form
}

func (c Command) environment() []string {
	env := []string{}
	for _, name := range append([]string{"PATH", "HOME", "LANG"}, c.PassEnvironment...) {
		if value, found := os.LookupEnv(name); found {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// checkProgram refuses a program that every user of the machine can replace.
func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("the mode of %s is %#o, so every user of this machine can replace it", path, info.Mode().Perm())
	}
	return nil
}

// bounded keeps the beginning of an output and fails when there is more.
type bounded struct {
	buf  [maxText]byte
	n    int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := copy(b.buf[b.n:], p)
	b.n += n
	if n < len(p) {
		b.over = true
		return n, errTooLong // closes the pipe: a program that prints for ever is told so
	}
	return n, nil
}

// tail keeps the end of an output.
type tail struct {
	limit int
	buf   []byte
	cut   bool // whether there was more
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	if t.buf == nil {
		t.buf = make([]byte, 0, t.limit)
	}
	n := len(p)
	if n > t.limit {
		p, t.cut = p[n-t.limit:], true
	}
	if over := len(t.buf) + len(p) - t.limit; over > 0 {
		t.buf, t.cut = t.buf[:copy(t.buf, t.buf[over:])], true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tail) wipe() { clear(t.buf[:cap(t.buf)]) }

// text is what the program said, in one line, without what it printed on stdout: some repeat that in their errors.
func (t *tail) text(printed []byte) string {
	said := t.buf
	for _, secret := range spellings(printed) {
		// As long as before, so that what is cut off below is where it was.
		said = bytes.ReplaceAll(said, secret, bytes.Repeat([]byte("*"), len(secret)))
	}
	if t.cut {
		said = said[min(longestSpelling, len(said)):] // it may begin in the middle of a key
	}
	line := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		default:
			return r
		}
	}, string(said))
	return strings.Join(strings.Fields(line), " ")
}

// spellings are the ways in which a program may have spelled what it printed, and the key that it is.
func spellings(printed []byte) [][]byte {
	var all [][]byte
	add := func(b []byte) {
		if len(b) < 4 { // too short to be a key, or to be told from other words
			return
		}
		digits := []byte(hex.EncodeToString(b))
		all = append(all, b, digits, bytes.ToUpper(digits))
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all = append(all, []byte(enc.EncodeToString(b)))
		}
	}
	line := bytes.TrimRight(printed, "\r\n\x00")
	add(printed)
	add(line)
	if key, err := hex.DecodeString(string(line)); err == nil {
		add(key)
	}
	if key, err := base64.StdEncoding.DecodeString(string(line)); err == nil {
		add(key)
	}
	return all
}
