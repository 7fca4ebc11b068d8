package resources_test

import (
	"flag"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var mutateModules = flag.Bool("modules.mutate", false, "take each validation of the modules away, and expect terraform test to notice")

var (
	validationStart = regexp.MustCompile(`^    condition +=`)
	validationEnd   = regexp.MustCompile(`^    error_message +=`)
)

// mutant is variables.tf of a module with one validation that holds always.
type mutant struct{ name, text string }

// mutants returns one for each validation.
func mutants(text string) []mutant {
	lines := strings.Split(text, "\n")
	var all []mutant
	variable := ""
	for i := 0; i < len(lines); i++ {
		if m := blockStart.FindStringSubmatch(lines[i]); m != nil {
			variable = m[2]
		}
		if !validationStart.MatchString(lines[i]) {
			continue
		}
		start := i
		for !validationEnd.MatchString(lines[i]) {
			i++
		}
		_, condition, _ := strings.Cut(strings.Join(lines[start:i], "\n"), "=")
		changed := append(append([]string{}, lines[:start]...), "    condition = true || ("+strings.TrimSpace(condition)+")")
		all = append(all, mutant{variable + ": " + strings.TrimSpace(lines[i]), strings.Join(append(changed, lines[i:]...), "\n")})
	}
	return all
}

func TestMutants(t *testing.T) {
	got := mutants("variable \"a\" {\n  validation {\n    condition = f(\n      1,\n    )\n    error_message = \"No.\"\n  }\n}\n")
	want := mutant{`a: error_message = "No."`, "variable \"a\" {\n  validation {\n    condition = true || (f(\n      1,\n    ))\n    error_message = \"No.\"\n  }\n}\n"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("mutants %q", got)
	}
}

// TestEveryValidationMatters takes each validation of each module away in turn:
// the module's own tests must notice.
func TestEveryValidationMatters(t *testing.T) {
	if !*mutateModules {
		t.Skip("it takes minutes; -modules.mutate runs it")
	}
	for _, module := range moduleNames(t) {
		t.Run(module, func(t *testing.T) {
			w := moduleWorkspace(t, module)
			w.terraform("get")
			file := filepath.Join(w.dir, "variables.tf")
			text := string(mustRead(t, file))
			w.terraform("test", "-filter=tests/validation.tftest.hcl")
			all := mutants(text)
			if len(all) < 10 {
				t.Fatalf("only %d validations", len(all))
			}
			for _, m := range all {
				mustWrite(t, file, []byte(m.text), 0o600)
				if out, _, err := w.try("test", "-filter=tests/validation.tftest.hcl"); err == nil {
					t.Errorf("%s is not missed", m.name)
				} else if !strings.Contains(out, "... fail") {
					t.Errorf("%s: the tests do not run:\n%s", m.name, out)
				}
			}
			t.Logf("%d validations", len(all))
		})
	}
}
