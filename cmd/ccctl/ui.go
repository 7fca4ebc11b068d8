package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// ui is where the commands read and write. Results go to out and everything
// else to err, so that a pipe carries data alone.
type ui struct {
	in       io.Reader
	out, err io.Writer
	quiet    bool
	json     bool
}

func newUI(in io.Reader, out, errOut io.Writer) *ui {
	return &ui{in: in, out: out, err: errOut}
}

// jsonFlag gives a reporting command its --json.
func (u *ui) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&u.json, "json", false, "print the result as JSON")
}

// report prints a result: v with --json, else what text writes. Columns that
// text separates with tabs are aligned.
func (u *ui) report(v any, text func(w io.Writer) error) error {
	if u.json {
		enc := json.NewEncoder(u.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
		return nil
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	if err := text(w); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// note tells the user something that is not a result.
func (u *ui) note(format string, a ...any) {
	if !u.quiet {
		_, _ = fmt.Fprintf(u.err, format+"\n", a...)
	}
}

// warn tells the user of something that may matter; --quiet keeps it.
func (u *ui) warn(format string, a ...any) {
	_, _ = fmt.Fprintf(u.err, "%s %s\n", u.colour("33", "warning:"), fmt.Sprintf(format, a...))
}

// fail prints the error that ends the command.
func (u *ui) fail(err error) {
	_, _ = fmt.Fprintf(u.err, "%s %v\n", u.colour("31", "error:"), err)
	said := hints(err)
	for _, h := range said {
		u.hint(h)
	}
	if h := remedy(err, len(said) > 0); h != "" {
		u.hint(h)
	}
}

// hint prints a line on what to do.
func (u *ui) hint(text string) {
	_, _ = fmt.Fprintf(u.err, "%s %s\n", u.colour("36", "hint:"), text)
}

// colour wraps s in an ANSI colour where err is a terminal that wants it
// (https://no-color.org).
func (u *ui) colour(code, s string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(u.err) {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progressDelay is how long work may last before it shows a progress bar.
const progressDelay = time.Second

// progress is a bar that appears on a terminal once the work has lasted a
// second. It counts bytes and may be used from one goroutine at a time.
type progress struct {
	u     *ui
	what  string
	total int64
	done  int64
	start time.Time
	bar   *progressbar.ProgressBar
}

// progress starts to measure; total is in bytes, -1 when unknown.
func (u *ui) progress(what string, total int64) *progress {
	return &progress{u: u, what: what, total: total, start: time.Now()}
}

// add counts n more bytes.
func (p *progress) add(n int64) {
	p.done += n
	if p.u.quiet || !isTerminal(p.u.err) || time.Since(p.start) < progressDelay {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(p.total,
			progressbar.OptionSetDescription(p.what),
			progressbar.OptionSetWriter(p.u.err),
			progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	_ = p.bar.Set64(p.done)
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
