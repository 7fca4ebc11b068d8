package resources_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var writeReadmes = flag.Bool("modules.write", false, "write the tables of the modules' README.md instead of comparing them")

// block is a variable or an output, in the form that terraform fmt gives it.
type block struct {
	name       string
	attributes map[string]string // the expressions, on one line each
}

var (
	blockStart     = regexp.MustCompile(`^(variable|output) "([a-z0-9_]+)" \{$`)
	attributeStart = regexp.MustCompile(`^  ([a-z]+) += (.+)$`)
)

// parseBlocks reads the blocks of a kind. Nested blocks, such as validations,
// are left out.
func parseBlocks(t *testing.T, path, kind string) []block {
	t.Helper()
	var all []block
	attribute := ""
	depth := 0 // of brackets that an attribute has opened
	for n, line := range strings.Split(string(mustRead(t, path)), "\n") {
		switch m := blockStart.FindStringSubmatch(line); {
		case m != nil && m[1] == kind:
			all = append(all, block{name: m[2], attributes: map[string]string{}})
			continue
		case strings.HasPrefix(line, kind+" "):
			t.Fatalf("%s:%d: %q is not as terraform fmt writes it", path, n+1, line)
		case len(all) == 0:
			continue
		}
		attributes := all[len(all)-1].attributes
		if depth > 0 {
			attributes[attribute] += " " + strings.TrimSpace(line)
		} else if m := attributeStart.FindStringSubmatch(line); m != nil {
			attribute = m[1]
			attributes[attribute] = m[2]
		} else {
			continue
		}
		if attribute != "description" { // which may say a bracket, and is one line
			depth += strings.Count(line, "(") + strings.Count(line, "{") + strings.Count(line, "[")
			depth -= strings.Count(line, ")") + strings.Count(line, "}") + strings.Count(line, "]")
		}
	}
	return all
}

// text is a description without its quotes.
func (b block) text() string {
	s := strings.TrimSuffix(strings.TrimPrefix(b.attributes["description"], `"`), `"`)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, "|", `\|`).Replace(s)
}

var (
	spaces    = regexp.MustCompile(`\s+`)
	optionals = regexp.MustCompile(`\b([a-z0-9_]+) = (optional\()?`)
)

// kind is the type for a table: of objects the names of the attributes, with a
// question mark where they are optional.
func (b block) kind() string {
	text := spaces.ReplaceAllString(b.attributes["type"], " ")
	if strings.Contains(text, "object(") {
		text = outline(text)
	}
	text = "`" + text + "`"
	if b.attributes["ephemeral"] == "true" {
		text += ", ephemeral"
	}
	return text
}

// outline replaces the attributes of the outermost object by their names.
func outline(text string) string {
	before, inside, _ := strings.Cut(text, "object({")
	var names []string
	depth := 0
	end := 0
	for at := 0; at < len(inside); at++ {
		if depth == 0 {
			if loc := optionals.FindStringSubmatchIndex(inside[at:]); loc != nil && loc[0] == 0 {
				name := inside[at+loc[2] : at+loc[3]]
				if loc[4] >= 0 {
					name += "?"
				}
				names = append(names, name)
				at += loc[3] - 1
				continue
			}
		}
		switch inside[at] {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth--
		}
		if depth < 0 {
			end = at
			break
		}
	}
	return before + "object({ " + strings.Join(names, ", ") + " " + inside[end:]
}

const (
	tableStart = "<!-- begin: variables and outputs, written by go test ./internal/resources -run TestModuleReadmes -modules.write -->\n"
	tableEnd   = "<!-- end -->\n"
)

// tables are the variables and outputs of a module in Markdown.
func tables(variables, outputs []block) string {
	var s strings.Builder
	s.WriteString(tableStart + "## Variables\n\nAn attribute with `?` may be left out; `variables.tf` has their types and defaults.\n\n" +
		"| name | type | default | what it is |\n|---|---|---|---|\n")
	for _, v := range variables {
		byDefault := "required"
		if d := v.attributes["default"]; d != "" {
			byDefault = "`" + d + "`"
		}
		fmt.Fprintf(&s, "| `%s` | %s | %s | %s |\n", v.name, v.kind(), byDefault, v.text())
	}
	s.WriteString("\n## Outputs\n\n| name | what it is |\n|---|---|\n")
	for _, o := range outputs {
		fmt.Fprintf(&s, "| `%s` | %s |\n", o.name, o.text())
	}
	return s.String() + tableEnd
}

// TestModuleReadmes holds the tables in the modules' README.md against their
// variables and outputs.
func TestModuleReadmes(t *testing.T) {
	for _, module := range moduleNames(t) {
		dir := filepath.Join("..", "..", "modules", module)
		variables := parseBlocks(t, filepath.Join(dir, "variables.tf"), "variable")
		outputs := parseBlocks(t, filepath.Join(dir, "outputs.tf"), "output")
		if len(variables) < 10 || len(outputs) < 5 {
			t.Errorf("module %s: only %d variables and %d outputs were found", module, len(variables), len(outputs))
		}
		readme := filepath.Join(dir, "README.md")
		text := string(mustRead(t, readme))
		before, rest, found := strings.Cut(text, tableStart)
		_, after, ended := strings.Cut(rest, tableEnd)
		if !found || !ended {
			t.Errorf("%s has no place for the tables:\n%s%s", readme, tableStart, tableEnd)
			continue
		}
		want := before + tables(variables, outputs) + after
		if *writeReadmes && want != text {
			if err := os.WriteFile(readme, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if want != text {
			t.Errorf("the tables of %s are not those of its variables and outputs: run go test ./internal/resources -run TestModuleReadmes -modules.write", readme)
		}
	}
}

// TestModulesAreWellFormed asks of each module what its users count on.
func TestModulesAreWellFormed(t *testing.T) {
	for _, module := range moduleNames(t) {
		dir := filepath.Join("..", "..", "modules", module)
		for _, kind := range []string{"variable", "output"} {
			for _, b := range parseBlocks(t, filepath.Join(dir, kind+"s.tf"), kind) {
				if d := b.text(); len(d) < 10 || !strings.HasSuffix(d, ".") {
					t.Errorf("module %s: the description of %s %s is no sentence: %q", module, kind, b.name, d)
				}
				if kind == "output" {
					continue
				}
				if b.attributes["type"] == "" || b.attributes["type"] == "any" {
					t.Errorf("module %s: variable %s has no type", module, b.name)
				}
				// A null that means something is the default; any other would reach a resource as an unset argument.
				if nullable := b.attributes["default"] == "null"; nullable == (b.attributes["nullable"] == "false") {
					t.Errorf("module %s: variable %s with default %q says nullable = %q", module, b.name, b.attributes["default"], b.attributes["nullable"])
				}
			}
		}
		seen := map[string]bool{}
		for _, m := range errorMessage.FindAllStringSubmatch(string(mustRead(t, filepath.Join(dir, "variables.tf"))), -1) {
			if seen[m[1]] {
				t.Errorf("module %s: two validations say %q", module, m[1])
			}
			seen[m[1]] = true
		}
		if len(seen) < 10 {
			t.Errorf("module %s has only %d validations", module, len(seen))
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
		if err != nil || len(files) != 4 {
			t.Errorf("module %s consists of %v (%v)", module, files, err)
		}
		all := ""
		for _, f := range files {
			all += string(mustRead(t, f))
		}
		for _, want := range []string{`required_version = ">= 1.11"`, `source = "ccctl/cc"`} {
			if !strings.Contains(all, want) {
				t.Errorf("module %s does not say %s", module, want)
			}
		}
		if strings.Contains("\n"+all, "\nprovider \"") {
			t.Errorf("module %s configures a provider, which is its user's to do", module)
		}
	}
}

var errorMessage = regexp.MustCompile(`(?m)^    error_message = (.+)$`)

func TestParseBlocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "variables.tf")
	mustWrite(t, file, []byte(`variable "one" {
  description = "It (says) \"a | b\"."
  type = object({
    a = string
    b = optional(map(object({ c = string })), {})
    d = list(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = true
    error_message = "No."
  }
}

variable "two" {
  type      = list(object({ a = optional(number) }))
  ephemeral = true
}
`), 0o600)
	got := parseBlocks(t, file, "variable")
	if len(got) != 2 || got[0].name != "one" || got[0].text() != `It (says) "a \| b".` || got[0].attributes["nullable"] != "false" || got[0].attributes["error_message"] != "" {
		t.Fatalf("parsed %+v", got)
	}
	if kind := got[0].kind(); kind != "`object({ a, b?, d })`" {
		t.Errorf("the first is of type %s", kind)
	}
	if kind := got[1].kind(); kind != "`list(object({ a? }))`, ephemeral" {
		t.Errorf("the second is of type %s", kind)
	}
}
