package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// Limits of what goes through Cloud Assistant, in bytes. A piece is a call or
// two of an API that bears a few calls a second, so what is larger belongs on
// another way.
const (
	MaxAssistantFile   = 4 << 20 // of a file, and of a program's standard input
	MaxAssistantOutput = 4 << 20 // of a program's standard output, and of its standard error
)

const (
	// assistantPiece is what a command may print: the service cuts output at
	// 24 KB, and this much has less even in base64.
	assistantPiece = 16 << 10
	// assistantInline is what fits into a command beside its script, before base64.
	assistantInline = 8 << 10
	// assistantLonger is the patience with the machine after a program was
	// asked to end: the request is a command of its own, which takes its time.
	assistantLonger = 5 * time.Second
	// assistantForever is how long a program may run whose context has no end:
	// the longest that the service allows.
	assistantForever = 24 * time.Hour
)

// ErrKept is wrapped by the refusal to send a secret by way of Cloud Assistant.
var ErrKept = errors.New("the service keeps what it sends for weeks and shows it to whoever may list commands in the account, so no secret goes " +
	"that way; use SSH")

// Assistant is an instance of Alibaba Cloud that is reached by Cloud Assistant:
// no port is open there and no key known, and everything runs as root. It is
// meant for a look at a machine and for small files: see [MaxAssistantFile].
//
// Cloud Assistant keeps every command and file and shows them to whoever may
// list them. What is Secret is refused with [ErrKept] before anything is sent.
type Assistant struct {
	// Client is the account's.
	Client *ecs.Client
	// Instance is the id of the machine, "i-...".
	Instance string
	// Scratch is a directory on the machine for what is under way; empty: /tmp.
	Scratch string
}

var _ Executor = (*Assistant)(nil)

// String names the machine.
func (x *Assistant) String() string { return "instance " + x.Instance + " (Cloud Assistant)" }

// Close does nothing: there is no connection.
func (x *Assistant) Close() error { return nil }

func (x *Assistant) scratch(kind string) string {
	dir := x.Scratch
	if dir == "" {
		dir = "/tmp"
	}
	return dir + "/.cc-" + kind + "-" + strings.ToLower(rand.Text())
}

// runScript runs a program with its output in files, because the service keeps
// the end of it only, and reports how it ended. Should the service deliver it
// twice, the second waits for what the first has done.
//
// A shell says 128 and the number for a program that a signal has ended, and
// for one that ended with that code. With job control bash says which it was.
//
// Whatever keeps it from going on, such as a full disk, it says and ends: nobody
// waits for what cannot come.
const runScript = `umask 077
d=%[1]s
lost() { rm -rf "$d" "$d.in"; echo "$1"; exit 96; }
if said=$(mkdir "$d" 2>&1); then
said=$({
%[4]s
} 2>&1) || lost "$said"
bash -c 'LC_ALL=C; set -m; "$@" <"$0/in" >"$0/out" 2>"$0/err" & echo $! >"$0/pid.new"; mv "$0/pid.new" "$0/pid"; wait $!; echo $? >"$0/code"' "$d" %[2]s 2>"$d/said"
[ -s "$d/code" ] || lost "how it ended was not written down: $({ echo 0 >"$d/probe"; } 2>&1)"
said=$({ : >"$d/done"; } 2>&1) || lost "$said"
elif [ ! -d "$d" ]; then lost "$said"
fi
until [ -e "$d/done" ]; do [ -d "$d" ] || lost "it was delivered twice, and the first has ended"; sleep 0.1; done
code=$(cat "$d/code")
signal=-
if [ "$code" -gt 128 ] && ! grep -q Exit "$d/said"; then signal=$(kill -l "$code" 2>/dev/null || echo -); fi
out=$(wc -c <"$d/out"); err=$(wc -c <"$d/err")
echo "cc $code $signal" $out $err
if [ $((out + err)) -le %[3]d ]; then cat "$d/out" "$d/err"; rm -rf "$d"; fi
`

// Run implements [Executor]. Output comes when the program has ended. A
// program that a signal has ended may be told from one that ended with 128 and
// its number only as well as the machine's bash does.
func (x *Assistant) Run(ctx context.Context, c Command) error {
	if err := checkArgs(c.Args); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("run %s on %s: %w", Quote(c.Args), x, assistantError(err)) }
	if err := ctx.Err(); err != nil {
		return fail(context.Cause(ctx))
	}
	if c.Secret && c.Stdin != nil {
		return fail(fmt.Errorf("its standard input is secret: %w", ErrKept))
	}
	dir := x.scratch("run")
	input, err := x.putInput(ctx, c.Stdin, dir+".in")
	if err != nil {
		return fail(err)
	}
	script := fmt.Sprintf(runScript, quoteArg(dir), Quote(c.Args), assistantPiece-256, input)
	report, err := x.stoppable(ctx, dir, script)
	if err != nil {
		return fail(err)
	}
	end, rest, err := parseEnd(report)
	if err != nil {
		return fail(err)
	}
	if err := x.deliver(ctx, c, dir, &end, rest); err != nil {
		return fail(err)
	}
	if end.code == 0 {
		return nil
	}
	e := &ExitError{Command: Quote(c.Args), Host: x.String(), Code: end.code, Stderr: end.stderr.String()}
	if end.signal != "" {
		e.Code, e.Signal = -1, end.signal
	}
	return e
}

// putInput brings a program's standard input to the machine: as part of the
// script if it is small. It returns what the script has to do about it.
func (x *Assistant) putInput(ctx context.Context, from io.Reader, name string) (script string, err error) {
	if from == nil {
		return `: >"$d/in"`, nil
	}
	data, err := io.ReadAll(io.LimitReader(from, MaxAssistantFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read its standard input: %w", err)
	case len(data) > MaxAssistantFile:
		return "", fmt.Errorf("its standard input has more than the %d bytes that are sent by way of Cloud Assistant; use SSH", MaxAssistantFile)
	case len(data) <= assistantInline:
		return inlineFile(data, `"$d/in"`, ""), nil
	}
	if err := x.put(ctx, BytesFile(name, data, 0o600)); err != nil {
		return "", fmt.Errorf("send its standard input: %w", err)
	}
	return "mv " + quoteArg(name) + ` "$d/in"`, nil
}

// inlineFile is a script that writes a file, whose name is given as the shell takes it. What the shell goes on with, such as
// "|| exit", follows.
func inlineFile(data []byte, quoted, then string) string {
	return "base64 -d >" + quoted + " <<'END' " + then + "\n" + base64.StdEncoding.EncodeToString(data) + "\nEND\n"
}

// end is how a program ended.
type end struct {
	code     int
	signal   string
	out, err int64 // bytes written
	stderr   tail
}

// parseEnd reads the first line of what runScript prints.
func parseEnd(report []byte) (end, []byte, error) {
	line, rest, _ := bytes.Cut(report, []byte("\n"))
	var e end
	fields := strings.Fields(string(line))
	if len(fields) == 5 && fields[0] == "cc" {
		var errs [3]error
		e.code, errs[0] = strconv.Atoi(fields[1])
		e.out, errs[1] = strconv.ParseInt(fields[3], 10, 64)
		e.err, errs[2] = strconv.ParseInt(fields[4], 10, 64)
		if fields[2] != "-" {
			e.signal = fields[2]
		}
		if errors.Join(errs[:]...) == nil {
			return e, rest, nil
		}
	}
	return e, nil, fmt.Errorf("the machine's report makes no sense: it begins %q", cut(string(line)))
}

// deliver passes on what a program wrote: it came with the report, or is in
// files on the machine.
func (x *Assistant) deliver(ctx context.Context, c Command, dir string, e *end, inline []byte) error {
	toStderr := io.Writer(&e.stderr)
	if c.Stderr != nil {
		toStderr = io.MultiWriter(&e.stderr, c.Stderr)
	}
	stdout := c.Stdout
	if stdout == nil {
		stdout = io.Discard
	}
	if e.out+e.err <= assistantPiece-256 {
		if int64(len(inline)) != e.out+e.err {
			return fmt.Errorf("%d of %d bytes of output arrived", len(inline), e.out+e.err)
		}
		if _, err := stdout.Write(inline[:e.out]); err != nil {
			return err
		}
		_, err := toStderr.Write(inline[e.out:])
		return err
	}
	defer x.forget(ctx, dir)
	for _, part := range []struct {
		name string
		size int64
		to   io.Writer
		want bool
	}{{"out", e.out, stdout, c.Stdout != nil}, {"err", e.err, toStderr, c.Stderr != nil}} {
		from := int64(0)
		switch {
		case !part.want && part.name == "out":
			continue
		case !part.want: // its end is wanted for the error
			from = max(0, part.size-tailSize)
		case part.size > MaxAssistantOutput:
			return fmt.Errorf("it wrote %d bytes, more than the %d that are fetched by way of Cloud Assistant; let it write to a file, or use SSH",
				part.size, MaxAssistantOutput)
		}
		if err := x.fetch(ctx, dir+"/"+part.name, from, part.size, part.to); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads a file from an offset to a size, in pieces.
func (x *Assistant) fetch(ctx context.Context, name string, from, size int64, to io.Writer) error {
	for at := from; at < size; {
		n := min(assistantPiece, size-at)
		piece, err := x.script(ctx, fmt.Sprintf("tail -c +%d -- %s | head -c %d\n", at+1, quoteArg(name), n))
		if err == nil && int64(len(piece)) != n {
			err = fmt.Errorf("%d of %d bytes came", len(piece), n)
		}
		if err == nil {
			_, err = to.Write(piece)
		}
		if err != nil {
			return fmt.Errorf("read bytes %d to %d of %d: %w", at, at+n, size, err)
		}
		at += n
	}
	return nil
}

// forget removes what was left for a command on the machine. What stays after
// a failure of it is in a directory that is emptied when the machine starts.
func (x *Assistant) forget(ctx context.Context, names ...string) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*assistantLonger)
	defer cancel()
	_, _ = x.script(limited, "rm -rf -- "+Quote(names)+"\n")
}

// stoppable runs a script that starts a program. When ctx ends the program is
// asked to end, as on any other machine, before its command is ended.
func (x *Assistant) stoppable(ctx context.Context, dir, script string) ([]byte, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	type answer struct {
		report []byte
		err    error
	}
	ended := make(chan answer, 1)
	go func() {
		report, err := x.scriptWithin(running, script, remaining(ctx))
		ended <- answer{report, err}
	}()
	select {
	case a := <-ended:
		return a.report, a.err
	case <-ctx.Done():
	}
	// The first is the program itself, the second those that it has started.
	const stop = `d=%s
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e "$d/pid" ] && break; sleep 0.2; done
p=$(cat "$d/pid") && { kill -TERM "$p" || exit 0; for i in 1 2 3 4 5 6 7 8 9 10; do [ -e "$d/done" ] && break; sleep 0.2; done; }
rm -rf "$d" "$d.in"
`
	limited, release := context.WithTimeout(running, assistantLonger)
	defer release()
	_, _ = x.script(limited, fmt.Sprintf(stop, quoteArg(dir)))
	cancel() // this stops the invocation
	select {
	case <-ended:
	case <-time.After(stopPatience):
	}
	return nil, context.Cause(ctx)
}

// remaining is how long a program may run by its context.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return assistantForever
	}
	return min(max(time.Until(deadline)+time.Minute, time.Minute), assistantForever)
}

// script runs a shell script and returns what it prints, which must be short.
func (x *Assistant) script(ctx context.Context, text string) ([]byte, error) {
	return x.scriptWithin(ctx, text, remaining(ctx))
}

func (x *Assistant) scriptWithin(ctx context.Context, text string, limit time.Duration) ([]byte, error) {
	r, err := x.Client.Run(ctx, x.Instance, ecs.Command{Name: "cc", Script: "#!/bin/bash\n" + text, Timeout: limit})
	switch {
	case err != nil:
		return nil, err
	case r.Dropped > 0:
		return nil, fmt.Errorf("the service dropped %d bytes of output", r.Dropped)
	case r.Succeeded():
		return []byte(r.Output), nil
	case r.Code == "ExitCodeNonzero" || r.Status == "Failed" && r.Code == "":
		return nil, &scriptError{code: r.ExitCode, output: r.Output}
	default: // how it went on is not known: it was stopped from outside, or the machine went down
		return nil, fmt.Errorf("%w: the command ended as %s: %s %s", ErrConnectionLost, r.Status, r.Code, r.Info)
	}
}

// scriptError is the failure of a script of this package.
type scriptError struct {
	code   int
	output string
}

func (e *scriptError) Error() string {
	if s := strings.TrimSpace(e.output); s != "" {
		return s
	}
	return fmt.Sprintf("exit code %d", e.code)
}

// assistantError marks failures after which it is not known what was done.
func assistantError(err error) error {
	var call *ecs.Error
	if errors.As(err, &call) && call.Class == ecs.ClassTransient && !errors.Is(err, ErrConnectionLost) {
		return fmt.Errorf("%w: %w", ErrConnectionLost, err)
	}
	return err
}
