package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code, out, errOut := ccctl(t, "", "man", dir); code != exitOK || out != "" || !strings.Contains(errOut, " pages in ") {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, cmd := range commands(testRoot(t)) {
		if !documented(cmd) {
			continue
		}
		want++
		text, err := os.ReadFile(filepath.Join(dir, pageName(cmd)+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		checkPage(t, cmd, string(text), dir)
	}
	if len(names) != want {
		t.Errorf("%d files for %d commands", len(names), want)
	}
	// Twice the same.
	again := filepath.Join(t.TempDir(), "man1")
	if code, _, errOut := ccctl(t, "", "man", "-q", again); code != exitOK || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, name := range names {
		a, errA := os.ReadFile(name)
		b, errB := os.ReadFile(filepath.Join(again, filepath.Base(name)))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s differs between two runs (%v, %v)", name, errA, errB)
		}
	}
}

var (
	request   = regexp.MustCompile(`^\.(TH|SH|PP|TP|nf|fi)( "|$)`)
	reference = regexp.MustCompile(`\\fB([a-z\\-]+)\\fR\(1\)`)
)

// checkPage reads a page as strictly as man(7) is.
func checkPage(t *testing.T, cmd *cobra.Command, text, dir string) {
	t.Helper()
	verbatim := false
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "."):
			if !request.MatchString(line) {
				t.Errorf("%s:%d: %q is no request", pageName(cmd), i+1, line)
			}
			if line == ".nf" || line == ".fi" {
				if verbatim == (line == ".nf") {
					t.Errorf("%s:%d: %s out of turn", pageName(cmd), i+1, line)
				}
				verbatim = line == ".nf"
			}
		case strings.HasPrefix(line, "'"):
			t.Errorf("%s:%d: %q is a request", pageName(cmd), i+1, line)
		case line == "" && !verbatim:
			t.Errorf("%s:%d: an empty line in filled text", pageName(cmd), i+1)
		}
		for _, r := range line {
			if unicode.IsControl(r) {
				t.Errorf("%s:%d: %q has a control character", pageName(cmd), i+1, line)
			}
		}
	}
	for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS"} {
		if !strings.Contains(text, "\n.SH \""+section+"\"\n") {
			t.Errorf("%s has no section %s", pageName(cmd), section)
		}
	}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(dir, strings.ReplaceAll(m[1], `\-`, "-")+".1")); err != nil {
			t.Errorf("%s refers to %s, which does not exist", pageName(cmd), m[1])
		}
	}
}

// TestManRenders has groff, where there is one, complain.
func TestManRenders(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		testshared.Missing(t, "groff is not installed (package groff-base)")
	}
	var all []byte
	for _, p := range manPages(testRoot(t)) {
		all = append(all, p.text...)
	}
	cmd := exec.Command(groff, "-man", "-Tascii", "-P-c", "-ww", "-z")
	cmd.Stdin = strings.NewReader(string(all))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestProse(t *testing.T) {
	p := &roff{}
	p.prose("one-two \\x\n'quoted'\n.dotted\n\n  table  -a\n\n  more\n\nlast")
	want := "one\\-two \\ex\n\\&'quoted'\n\\&.dotted\n.PP\n.nf\n  table  \\-a\n\n  more\n.fi\n.PP\nlast\n"
	if got := p.b.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
