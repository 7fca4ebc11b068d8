package testfault

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// sources are the texts of all test files of the repository.
func sources(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(testshared.Root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testfault"):
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all = append(all, string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGuide: what the guide says of a fault is held against what is printed,
// and the tests it names exist.
func TestGuide(t *testing.T) {
	rows := Read(t)
	if len(rows) < 30 {
		t.Fatalf("%d rows: the guide was not understood", len(rows))
	}
	all := sources(t)
	somewhere := func(texts ...string) bool {
		return slices.ContainsFunc(all, func(file string) bool {
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(file, text) })
		})
	}
	constants := map[string]string{Provider: "testfault.Provider", KeyServer: "testfault.KeyServer", Ccctl: "testfault.Ccctl"}
	for _, r := range rows {
		for _, name := range r.Tests {
			if !somewhere("\nfunc " + name + "(t *testing.T) {\n") {
				t.Errorf("%s, %s: there is no test %s", r.Fault, r.Component, name)
			}
		}
		if !somewhere("testfault.Expect(", constants[r.Component], `"`+r.Fault+`"`) {
			t.Errorf("%s: no test holds the guide against what the %s prints", r.Fault, r.Component)
		}
	}
}

func TestParse(t *testing.T) {
	const header = "text\n\n| Fault | Component | What happens | What it says | What is kept | Afterwards | Shown by |\n|---|---|---|---|---|---|---|\n"
	rows, err := parse(header + "| Service down | `ccctl` | Exit code 6. | `error: a … b`; `hint: c` | All. | Again. | `TestA`, `TestB` (in `x`) |\n" +
		"|  | key server | Waits. | `w` | All. | Nothing. | `TestC` |\n")
	want := []Row{
		{Fault: "Service down", Component: Ccctl, Happens: "Exit code 6.", Says: []string{"error: a … b", "hint: c"}, Kept: "All.", After: "Again.", Tests: []string{"TestA", "TestB"}},
		{Fault: "Service down", Component: KeyServer, Happens: "Waits.", Says: []string{"w"}, Kept: "All.", After: "Nothing.", Tests: []string{"TestC"}},
	}
	if diff := cmp.Diff(want, rows); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, tt := range []struct{ row, err string }{
		{"| a | ccctl | b | `c` | d | e |", "line 5: 6 cells instead of 7"},
		{"|  | ccctl | b | `c` | d | e | `TestA` |", "line 5: no fault is named"},
		{"| a | docker | b | `c` | d | e | `TestA` |", `line 5: "docker" is no component`},
		{"| a | ccctl | b | c | d | e | `TestA` |", "line 5: a: no message"},
		{"| a | ccctl | b | `c` | d | e | TestA |", "line 5: a: no test"},
		{"| a | ccctl | b | `c` | d |  | `TestA` |", "line 5: a: a cell is empty"},
		{"| a | ccctl | b | `c` | d | e | `TestA` |\n| a | ccctl | b | `c` | d | e | `TestA` |", "line 6: a/ccctl is there twice"},
	} {
		if _, err := parse(header + tt.row); err == nil || err.Error() != tt.err {
			t.Errorf("%s: %v, want %q", tt.row, err, tt.err)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		message, text string
		want          bool
	}{
		{"error: write … : full", "error: write /x/y : full\nhint: x", true},
		{"a b c", "│ a b\n│ c", true},
		{`says "x"`, `msg="it says \"x\""`, true},
		{"a.c", "abc", false},
		{"a … c", "a b", false},
	} {
		if got := pattern(tt.message).MatchString(plain(tt.text)); got != tt.want {
			t.Errorf("%q in %q: %v", tt.message, tt.text, got)
		}
	}
}
