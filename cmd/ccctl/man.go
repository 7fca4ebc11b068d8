package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

func newManCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages",
		Hidden: true, // for those who make packages; a release has them
		Long: `man writes a manual page for ccctl and each of its commands into DIR, which is
made if it is not there: ccctl.1, ccctl-pf.1, ccctl-pf-encrypt.1 and so on.`,
		Example: `  ccctl man build/man1`,
		Args:    args("DIR"),
		RunE: func(cmd *cobra.Command, a []string) error {
			if err := os.MkdirAll(a[0], 0o755); err != nil { //nolint:gosec // As mkdir does: manual pages are for everybody.
				return fmt.Errorf("write manual pages: %w", err)
			}
			pages := manPages(cmd.Root())
			for _, p := range pages {
				if err := atomicfile.WriteFile(filepath.Join(a[0], p.name), p.text, 0o644); err != nil {
					return fmt.Errorf("write manual pages: %w", err)
				}
			}
			u.note("%d pages in %s", len(pages), a[0])
			return nil
		},
	}
}

// manPage is a page of section 1.
type manPage struct {
	name string // of the file
	text []byte
}

// manPages are the pages of a command and all below it that help lists.
func manPages(cmd *cobra.Command) []manPage {
	pages := []manPage{{pageName(cmd) + ".1", writePage(cmd)}}
	for _, sub := range cmd.Commands() {
		if documented(sub) {
			pages = append(pages, manPages(sub)...)
		}
	}
	return pages
}

// documented tells whether a command has a page of its own.
func documented(cmd *cobra.Command) bool { return !cmd.Hidden && cmd.Name() != "help" }

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// writePage writes a page in the macros of man(7). Nothing in it depends on the
// day or the machine.
func writePage(cmd *cobra.Command) []byte {
	p := &roff{}
	p.macro("TH", strings.ToUpper(pageName(cmd)), "1", "", "ccctl "+version(), "ccctl manual")
	p.macro("SH", "NAME")
	p.line(pageName(cmd) + ` \- ` + escapeRoff(strings.ToLower(cmd.Short[:1])+cmd.Short[1:]))
	p.macro("SH", "SYNOPSIS")
	p.line(`\fB` + escapeRoff(synopsis(cmd)) + `\fR`)
	p.macro("SH", "DESCRIPTION")
	if cmd.Long != "" {
		p.prose(cmd.Long)
	} else {
		p.prose(cmd.Short + ".")
	}
	p.commands(cmd)
	p.options("OPTIONS", cmd.NonInheritedFlags())
	p.options("GENERAL OPTIONS", cmd.InheritedFlags())
	if cmd.HasExample() {
		p.macro("SH", "EXAMPLES")
		p.verbatim(strings.Split(cmd.Example, "\n"))
	}
	p.macro("SH", "EXIT STATUS")
	p.verbatim(strings.Split(exitCodes, "\n"))
	p.seeAlso(cmd)
	return []byte(p.b.String())
}

// synopsis is the usage line, of a group that of whatever is below it.
func synopsis(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	return strings.TrimSuffix(cmd.UseLine(), " [flags]")
}

// roff is a page being written.
type roff struct{ b strings.Builder }

// escapeRoff escapes a text for the middle of a line. A hyphen that a reader
// may copy into a shell has to be written as a minus.
var escapeRoff = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace

// line writes a line of text that is escaped already.
func (p *roff) line(s string) {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s // or it would be a macro
	}
	p.b.WriteString(s + "\n")
}

// macro writes a request with its arguments, each in quotes.
func (p *roff) macro(name string, args ...string) {
	p.b.WriteString("." + name)
	for _, a := range args {
		p.b.WriteString(` "` + strings.ReplaceAll(escapeRoff(a), `"`, `\(dq`) + `"`)
	}
	p.b.WriteString("\n")
}

// prose writes a help text: paragraphs are filled, what is indented stays as it is.
func (p *roff) prose(text string) {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		switch {
		case lines[i] == "":
			if i+1 < len(lines) && !strings.HasPrefix(lines[i+1], " ") {
				p.macro("PP")
			}
			i++
		case strings.HasPrefix(lines[i], " "):
			from := i
			for i < len(lines) && (strings.HasPrefix(lines[i], " ") || lines[i] == "" && i+1 < len(lines) && strings.HasPrefix(lines[i+1], " ")) {
				i++
			}
			p.verbatim(lines[from:i])
		default:
			p.line(escapeRoff(lines[i]))
			i++
		}
	}
}

// verbatim writes lines as they are.
func (p *roff) verbatim(lines []string) {
	p.macro("PP")
	p.macro("nf")
	for _, l := range lines {
		p.line(escapeRoff(l))
	}
	p.macro("fi")
}

func (p *roff) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.macro("SH", "COMMANDS")
	for _, sub := range cmd.Commands() {
		if documented(sub) {
			p.macro("TP")
			p.line(`\fB` + escapeRoff(sub.Name()) + `\fR`)
			p.line(escapeRoff(sub.Short) + ": \\fB" + escapeRoff(pageName(sub)) + `\fR(1)`)
		}
	}
}

func (p *roff) options(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.macro("SH", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := `\fB` + escapeRoff("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			name = `\fB` + escapeRoff("-"+f.Shorthand) + `\fR, ` + name
		}
		if value != "" {
			name += ` \fI` + escapeRoff(value) + `\fR`
		}
		p.macro("TP")
		p.line(name)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			usage += fmt.Sprintf(" (default: %s)", f.DefValue)
		}
		p.line(escapeRoff(usage))
	})
}

// seeAlso names the pages above, beside and below.
func (p *roff) seeAlso(cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent()))
	}
	near := cmd.Commands()
	if len(near) == 0 && cmd.HasParent() && cmd.Parent().HasParent() {
		near = cmd.Parent().Commands()
	}
	for _, c := range near {
		if c != cmd && documented(c) {
			names = append(names, pageName(c))
		}
	}
	if len(names) == 0 {
		return
	}
	for i, n := range names {
		names[i] = `\fB` + escapeRoff(n) + `\fR(1)`
	}
	p.macro("SH", "SEE ALSO")
	p.line(strings.Join(names, ",\n"))
}
