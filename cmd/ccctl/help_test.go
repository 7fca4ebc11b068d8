package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are all of ours, without what cobra adds.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}

func testRoot(t *testing.T) *cobra.Command {
	t.Helper()
	root := newRootCommand(newUI(strings.NewReader(""), t.Output(), t.Output()))
	if n := len(commands(root)); n < 40 {
		t.Fatalf("%d commands found", n)
	}
	return root
}

func TestHelpOfEveryCommand(t *testing.T) {
	for _, cmd := range commands(testRoot(t)) {
		path := cmd.CommandPath()
		if r := []rune(cmd.Short); len(r) == 0 || !unicode.IsUpper(r[0]) || strings.HasSuffix(cmd.Short, ".") || strings.Contains(cmd.Short, "\n") {
			t.Errorf("%s: short help %q: want a capital, one line and no full stop", path, cmd.Short)
		}
		if !strings.HasPrefix(cmd.Use, cmd.Name()) {
			t.Errorf("%s: usage line %q", path, cmd.Use)
		}
		flags := 0
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "json" && f.Name != "help" {
				flags++
			}
			if f.Usage == "" && !f.Hidden || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s: --%s is described by %q", path, f.Name, f.Usage)
			}
		})
		if flags > 0 && cmd.Long == "" {
			t.Errorf("%s: has %d flags and no long help", path, flags)
		}
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
			if strings.ContainsRune(line, '\t') || strings.TrimRight(line, " ") != line {
				t.Errorf("%s: help has a tab or a blank at the end of %q", path, line)
			}
		}
		if cmd.Example == "" {
			t.Errorf("%s: no example", path)
		}
		for _, line := range strings.Split(cmd.Example, "\n") {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented", path, line)
			}
		}
	}
}

// exampleCommands takes a command's example apart into the command lines of ccctl in it.
func exampleCommands(t *testing.T, example string) [][]string {
	t.Helper()
	var all [][]string
	for _, line := range strings.Split(strings.ReplaceAll(example, "\\\n", " "), "\n") {
		var words []string
		add := func() {
			if len(words) > 0 && words[0] == "ccctl" {
				all = append(all, words[1:])
			}
			words = nil
		}
		for _, w := range strings.Fields(line) {
			switch {
			case w == "|" || w == "&&":
				add()
			case strings.HasPrefix(w, ">") || strings.HasPrefix(w, "<"):
			case strings.ContainsAny(w, `"'$;\`):
				t.Fatalf("%q: this test knows no %s", example, w)
			default:
				words = append(words, w)
			}
		}
		add()
	}
	return all
}

// TestExamples: every example is a command line that its command takes.
func TestExamples(t *testing.T) {
	for _, documented := range commands(testRoot(t)) {
		lines := exampleCommands(t, documented.Example)
		own := 0
		for _, line := range lines {
			cmd, rest, err := testRoot(t).Find(line)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", documented.CommandPath(), line, err)
				continue
			}
			if cmd.CommandPath() == documented.CommandPath() || strings.HasPrefix(cmd.CommandPath(), documented.CommandPath()+" ") {
				own++
			}
			path := commandName(cmd)
			cmd.Flags().Visit(func(f *pflag.Flag) {
				if c, _ := completerOf(flagCompleters(), path, f); c.closed && !accepts(c, f.Value.String()) {
					t.Errorf("%s: example %q: --%s has no value %s", documented.CommandPath(), line, f.Name, f.Value)
				}
			})
		}
		if own == 0 {
			t.Errorf("%s: none of the examples %q is of it", documented.CommandPath(), lines)
		}
	}
}

func accepts(c completer, value string) bool {
	values := []string{value}
	if c.list {
		values = strings.Split(strings.Trim(value, "[]"), ",")
	}
	for _, v := range values {
		if !slices.ContainsFunc(c.values(nil, ""), func(s string) bool { name, _, _ := strings.Cut(s, "\t"); return name == v }) {
			return false
		}
	}
	return true
}

// TestExamplesRun runs every example in an empty folder without a network: whatever is wrong then, it is not the usage.
func TestExamplesRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody is called
	for _, cmd := range commands(testRoot(t)) {
		if cmd.HasSubCommands() {
			continue
		}
		t.Run(strings.ReplaceAll(commandName(cmd), " ", "_"), func(t *testing.T) {
			t.Chdir(t.TempDir())
			for _, line := range exampleCommands(t, cmd.Example) {
				var out, errOut strings.Builder
				code := run(ctx, line, strings.NewReader(""), &out, &errOut)
				// A configuration that is not there is wrong usage too.
				if code == exitUsage && !strings.Contains(errOut.String(), "no such file") {
					t.Errorf("%q: %s", line, &errOut)
				}
			}
		})
	}
}

func TestFirstExamples(t *testing.T) {
	g := group("noun", "Noun",
		&cobra.Command{Use: "one", Example: "  one a \\\n      b\n  one c"},
		&cobra.Command{Use: "hidden", Example: "  hidden", Hidden: true},
		&cobra.Command{Use: "none"},
		&cobra.Command{Use: "two", Example: "  two"})
	if got, want := firstExamples(g), "  one a \\\n      b\n  two"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
