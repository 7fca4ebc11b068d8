package doccheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// block is a configuration in a document.
type block struct {
	document string
	fence
}

func blocks(t *testing.T, languages ...string) []block {
	t.Helper()
	var all []block
	for _, d := range documents(t) {
		for _, f := range d.fences {
			for _, language := range languages {
				if f.language == language {
					all = append(all, block{d.path, f})
				}
			}
		}
	}
	return all
}

var (
	variableName = regexp.MustCompile(`(?m)^variable\s+"([^"]+)"`)
	importBlock  = regexp.MustCompile(`(?m)^import\s*\{`)
	// The modules of this repository, as others name them: by a release, which a test has not.
	releasedModule = regexp.MustCompile(`"git::https://github\.com/ccctl/terraform-provider-cc//modules/([a-z-]+)\?ref=v[0-9.]+"`)
)

// terraformBlock makes a module one of the provider's.
const terraformBlock = "terraform {\n  required_providers {\n    cc = {\n      source = \"ccctl/cc\"\n    }\n  }\n}\n"

// TestHCL validates every HCL block of the documentation with the built provider. Each block is a module; its variables
// get a value that is not known, which passes any validation of theirs.
func TestHCL(t *testing.T) {
	t.Parallel()
	all := blocks(t, "hcl", "terraform", "tf")
	if len(all) < 20 {
		t.Fatalf("the documentation has only %d HCL blocks", len(all))
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "modules"), os.DirFS(filepath.Join(root, "modules"))); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	var main strings.Builder
	main.WriteString("variable \"any\" {\n  type = any\n}\n")
	for i, b := range all {
		if importBlock.MatchString(b.text) {
			t.Errorf("%s:%d: an import block is valid in a root module only: show the command terraform import", b.document, b.line)
			continue
		}
		name := fmt.Sprintf("b%02d", i)
		folder := filepath.Join(dir, name)
		text := releasedModule.ReplaceAllString(b.text, `"../modules/$1"`)
		write(t, filepath.Join(folder, "block.tf"), text)
		if b.with != "" {
			used[b.with] = true
			completion := read(t, filepath.Join("testdata", "hcl", b.with+".tf"))
			write(t, filepath.Join(folder, "with.tf"), completion)
			text += completion
		}
		if !strings.Contains(text, "required_providers") {
			write(t, filepath.Join(folder, "terraform.tf"), terraformBlock)
		}
		fmt.Fprintf(&main, "module %q { # %s:%d\n  source = \"./%s\"\n", name, b.document, b.line, name)
		for _, m := range variableName.FindAllStringSubmatch(text, -1) {
			fmt.Fprintf(&main, "  %s = var.any\n", m[1])
		}
		main.WriteString("}\n")
	}
	write(t, filepath.Join(dir, "main.tf"), main.String())
	rc := terraformrc(t)
	run := func(args ...string) ([]byte, error) {
		cmd := exec.Command("terraform", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+rc)
		return cmd.CombinedOutput()
	}
	if out, err := run("get", "-no-color"); err != nil {
		t.Fatalf("terraform get: %v\n%s", err, out)
	}
	for _, d := range validate(t, run) {
		where := d.Summary
		if folder, file, ok := strings.Cut(filepath.ToSlash(d.Range.Filename), "/"); ok {
			var n int
			if _, err := fmt.Sscanf(folder, "b%d", &n); err == nil && n < len(all) {
				where = fmt.Sprintf("%s:%d", all[n].document, all[n].line+d.Range.Start.Line-1)
				if file != "block.tf" {
					where = fmt.Sprintf("%s:%d, completed with %s, line %d", all[n].document, all[n].line, all[n].with, d.Range.Start.Line)
				}
			}
		}
		t.Errorf("%s: %s: %s\n%s", where, d.Severity, d.Summary, d.Detail)
	}
	completions, err := filepath.Glob(filepath.Join("testdata", "hcl", "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range completions {
		if name := strings.TrimSuffix(filepath.Base(file), ".tf"); !used[name] {
			t.Errorf("%s completes no block", file)
		}
	}
	t.Logf("%d blocks are valid", len(all))
}

// diagnostic is what terraform validate -json says.
type diagnostic struct {
	Severity, Summary, Detail string
	Range                     struct {
		Filename string
		Start    struct{ Line int }
	}
}

func validate(t *testing.T, run func(args ...string) ([]byte, error)) []diagnostic {
	t.Helper()
	out, err := run("validate", "-json")
	var result struct {
		Valid       bool
		Diagnostics []diagnostic
	}
	if jsonErr := json.NewDecoder(bytes.NewReader(out)).Decode(&result); jsonErr != nil {
		t.Fatalf("terraform validate: %v, %v\n%s", err, jsonErr, out)
	}
	var problems []diagnostic
	for _, d := range result.Diagnostics {
		switch d.Summary {
		case "Provider development overrides are in effect", "Redundant empty provider block":
			// Of this test: it uses the provider under development, and makes modules of what is shown as a configuration.
		default:
			problems = append(problems, d)
		}
	}
	if !result.Valid && len(problems) == 0 {
		t.Fatalf("terraform validate: %v\n%s", err, out)
	}
	return problems
}

// TestHCLIsFormatted: what is shown is as terraform fmt would write it.
func TestHCLIsFormatted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := blocks(t, "hcl", "terraform", "tf")
	for i, b := range all {
		if !strings.HasPrefix(b.document, "README.md") { // it puts related arguments on a line
			write(t, filepath.Join(dir, fmt.Sprintf("b%02d.tf", i)), b.text)
		}
	}
	cmd := exec.Command("terraform", "fmt", "-check", "-diff", dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for i, b := range all {
		if bytes.Contains(out, fmt.Appendf(nil, "b%02d.tf", i)) {
			t.Errorf("%s:%d is not formatted", b.document, b.line)
		}
	}
}

// TestServerConfigurations reads every YAML block as the key server does.
func TestServerConfigurations(t *testing.T) {
	all := blocks(t, "yaml", "yml")
	if len(all) == 0 {
		t.Fatal("the documentation has no configuration of the key server")
	}
	base := read(t, filepath.Join("testdata", "server.yaml"))
	for _, b := range all {
		if b.with == "values" {
			valuesAreTested(t, b)
			continue
		}
		text := b.text
		if !strings.Contains("\n"+text, "\nlisten:") {
			text = complete(base, text)
		}
		if _, err := keyserver.ParseConfig([]byte(text), "/etc/cc-keyserver"); err != nil {
			t.Errorf("%s:%d: %v", b.document, b.line, err)
		}
	}
}

// valuesAreTested: values of the chart are those of a file that the chart's own tests render.
func valuesAreTested(t *testing.T, b block) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy", "cc-keyserver", "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("values of the chart: %q, %v", files, err)
	}
	for _, file := range files {
		if strings.Contains(read(t, file), b.text) {
			return
		}
	}
	t.Errorf("%s:%d: the values are in none of %q, which the chart's tests render", b.document, b.line, files)
}

var yamlKey = regexp.MustCompile(`(?m)^([a-z_]+):`)

// complete adds the top-level keys of base that text has not.
func complete(base, text string) string {
	has := map[string]bool{}
	for _, m := range yamlKey.FindAllStringSubmatch(text, -1) {
		has[m[1]] = true
	}
	take := true
	for line := range strings.Lines(base) {
		if m := yamlKey.FindStringSubmatch(line); m != nil {
			take = !has[m[1]]
		}
		if take {
			text += line
		}
	}
	return text
}
