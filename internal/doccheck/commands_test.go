package doccheck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// command is a command line in a document.
type command struct {
	line int
	text string
}

// first is the command without its here-document.
func (c command) first() string {
	first, _, _ := strings.Cut(c.text, "\n")
	return first
}

// known are the programs whose name begins a command in a block without a language.
var known = []string{"ccctl", "ccsim", "terraform", "make", "sh", "docker", "kubectl", "helm", "git", "curl"}

// commands are the command lines of a document: all lines of a block marked sh, shell or bash; those behind "$ " of a block
// marked console; and all of an unmarked one that has a line which begins with a known program.
func (d *document) commands() []command {
	var all []command
	for _, f := range d.fences {
		prompt := false
		switch f.language {
		case "sh", "shell", "bash":
		case "console":
			prompt = true
		case "":
			if !slices.ContainsFunc(strings.Split(f.text, "\n"), func(line string) bool { return slices.Contains(known, firstWord(line)) }) {
				continue
			}
		default:
			continue
		}
		all = append(all, split(f, prompt)...)
	}
	return all
}

func firstWord(line string) string {
	if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(line, " ") {
		return words[0]
	}
	return ""
}

var (
	hereDocument = regexp.MustCompile(`<<-?'?([A-Z]+)'?`)
	remark       = regexp.MustCompile(`(^|\s+)#\s.*$`)
)

// split cuts a block into commands. A backslash at the end of a line and a here-document go on with the same one.
func split(f fence, prompt bool) []command {
	var all []command
	lines := strings.Split(strings.TrimRight(f.text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line, start := lines[i], i
		if prompt {
			rest, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			line = rest
		}
		line = remark.ReplaceAllString(line, "")
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSpace(remark.ReplaceAllString(lines[i], ""))
		}
		if m := hereDocument.FindStringSubmatch(line); m != nil {
			for i++; i < len(lines); i++ {
				line += "\n" + lines[i]
				if strings.TrimSpace(lines[i]) == m[1] {
					break
				}
			}
		}
		if line = normal(line); line != "" {
			all = append(all, command{f.line + start, line})
		}
	}
	return all
}

// normal is a command with single spaces, except in a here-document.
func normal(text string) string {
	first, rest, more := strings.Cut(strings.TrimSpace(text), "\n")
	first = strings.Join(strings.Fields(first), " ")
	if more {
		return first + "\n" + rest
	}
	return first
}

// session is a script that runs a document's commands.
type session struct {
	commands []string
	instead  [][2]string // what the script has in the place of what the document says
}

var insteadOf = regexp.MustCompile(`(?m)^# instead of (.+?): (.+)$`)

// parseSession reads what a script runs.
func parseSession(text string) session {
	var s session
	archive := txtar.Parse([]byte(text))
	files := map[string]string{}
	for _, f := range archive.Files {
		files["sh "+f.Name] = string(f.Data)
	}
	script := string(archive.Comment)
	for _, m := range insteadOf.FindAllStringSubmatch(script, -1) {
		s.instead = append(s.instead, [2]string{m[1], m[2]})
	}
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		line = strings.TrimPrefix(line, "[unix] ")
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "!", "?":
			line = strings.TrimPrefix(rest, "exec ")
		case "status":
			_, line, _ = strings.Cut(rest, " ")
		case "exec":
			line = rest
		case "env", "cd":
			s.commands = append(s.commands, line)
			continue
		default:
			continue
		}
		if m := regexp.MustCompile(`^(.*?) &([a-z0-9]*&)?$`).FindStringSubmatch(line); m != nil {
			line = m[1]
		}
		if quoted, ok := strings.CutPrefix(line, "sh -c '"); ok {
			line = strings.TrimPrefix(strings.ReplaceAll(strings.TrimSuffix(quoted, "'"), "''", "'"), "exec ")
		}
		// What spans lines is in a file of the session.
		if file, ok := files[line]; ok {
			line = file
		}
		s.commands = append(s.commands, normal(line))
	}
	return s
}

// translate is a document's command as a session has it.
func (s *session) translate(c string) string {
	c = strings.TrimSuffix(c, " &") // a session may run in the background what its reader waits for, and the other way round
	for _, pair := range s.instead {
		c = strings.ReplaceAll(c, pair[0], pair[1])
	}
	if rest, ok := strings.CutPrefix(c, "export "); ok {
		c = "env " + rest
	}
	if strings.HasPrefix(c, "env ") {
		c = strings.ReplaceAll(c, `"`, "")
	}
	return c
}

// missing returns the commands of a document that a session does not run, or not in their order.
func (s *session) missing(all []command) []command {
	var missing []command
	next := 0
	for _, c := range all {
		want := s.translate(c.text)
		found := slices.Index(s.commands[next:], want)
		if found < 0 {
			missing = append(missing, c)
			continue
		}
		next += found + 1
	}
	return missing
}

// exemption is a command that no session runs.
type exemption struct{ document, command, reason string }

// TestCommandsAreRun holds every command of the documentation against the session that runs it.
func TestCommandsAreRun(t *testing.T) {
	total := 0
	excused := map[exemption]bool{}
	for _, d := range documents(t) {
		if strings.HasPrefix(d.path, "docs/") && !strings.HasPrefix(d.path, "docs/guides/") {
			continue // imports, by examples/*/import.sh: the tests of each resource import with them
		}
		all := d.commands()
		total += len(all)
		var rest []command
		for _, c := range all {
			i := slices.IndexFunc(notRun, func(e exemption) bool { return e.document == d.path && e.command == c.first() })
			if i < 0 {
				rest = append(rest, c)
				continue
			}
			excused[notRun[i]] = true
		}
		file := filepath.Join("testdata", "session", d.name()+".txtar")
		if len(rest) == 0 {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		s := parseSession(string(text))
		for _, c := range s.missing(rest) {
			t.Errorf("%s:%d: %s does not run, in this place: %s\nIf it cannot be run, say why in the table notRun.", d.path, c.line, file, s.translate(c.text))
		}
	}
	if total < 60 {
		t.Errorf("the documentation has only %d commands", total)
	}
	for _, e := range notRun {
		if !excused[e] {
			t.Errorf("%s does not say %q any more, and needs no exemption", e.document, e.command)
		}
		if e.reason == "" {
			t.Errorf("%s: %q is exempt without a reason", e.document, e.command)
		}
	}
	t.Logf("%d commands, %d of them not run", total, len(notRun))
}

// TestEveryGuideHasASession, and every session its document.
func TestEveryGuideHasASession(t *testing.T) {
	names := map[string]bool{}
	for _, d := range documents(t) {
		names[d.name()] = true
		if !strings.HasPrefix(d.path, "docs/guides/") {
			continue
		}
		if test, other := otherTests[d.path]; other && len(d.commands()) == 0 {
			t.Logf("%s is held against the programs by %s", d.path, test)
			continue
		}
		if len(d.commands()) == 0 {
			t.Errorf("%s has no command to run", d.path)
		}
		read(t, filepath.Join("testdata", "session", d.name()+".txtar"))
	}
	sessions, err := filepath.Glob(filepath.Join("testdata", "session", "*.txtar"))
	if err != nil || len(sessions) == 0 {
		t.Fatalf("sessions %v, %v", sessions, err)
	}
	for _, s := range sessions {
		if !names[strings.TrimSuffix(filepath.Base(s), ".txtar")] {
			t.Errorf("%s is the session of no document", s)
		}
	}
}

func TestCommands(t *testing.T) {
	d := parseDocument("x.md", []byte("```sh\n# a remark\nmake demo    # all of it\nccctl a \\\n    --b c\ncat >f <<END\n  x  # y\nEND\nls\n```\n"+
		"```console\n$ ccctl x\noutput\n$ terraform apply\n```\n```\nccctl pf\nother thing\n```\n```\n  ccctl in a picture\n```\n```yaml\nccctl: 1\n```\n"))
	var got []string
	for _, c := range d.commands() {
		got = append(got, fmt.Sprint(c.line, " ", c.text))
	}
	want := []string{"3 make demo", "4 ccctl a --b c", "6 cat >f <<END\n  x  # y\nEND", "9 ls", "12 ccctl x", "14 terraform apply", "17 ccctl pf", "18 other thing"}
	if !slices.Equal(got, want) {
		t.Errorf("commands %q", got)
	}
}

func TestSessionMissing(t *testing.T) {
	s := parseSession("# instead of --region r: --pccs $PCCS\nexec a  b\n! exec c\nstatus 5 ccctl d --pccs $PCCS\nexec sh -c 'e | sed ''s/x/y/'' >f'\nexec serve &bg&\nexec sh -c 'x <&0' &\nenv A=b\ncd dir\nexec sh f.sh\nstdout exec\n-- f.sh --\ncat >x <<END\na  b\nEND\n-- exec --\nexec hidden\n")
	for _, tt := range []struct {
		commands []string
		missing  string
	}{
		{[]string{"a b", "c", "ccctl d --region r", "e | sed 's/x/y/' >f", "serve &", "x <&0 &", `export A="b"`, "cd dir", "cat >x <<END\na  b\nEND"}, ""},
		{[]string{"c", "a b"}, "a b"},
		{[]string{"hidden", "stdout exec"}, "hidden stdout exec"},
		{[]string{"a", "serve --now"}, "a serve --now"},
	} {
		var all []command
		for _, c := range tt.commands {
			all = append(all, command{1, c})
		}
		var missing []string
		for _, c := range s.missing(all) {
			missing = append(missing, c.text)
		}
		if got := strings.Join(missing, " "); got != tt.missing {
			t.Errorf("%q: missing %q, want %q", tt.commands, got, tt.missing)
		}
	}
}
