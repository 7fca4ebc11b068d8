package doccheck

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, from here.
var root = filepath.Join("..", "..")

// document is a Markdown file.
type document struct {
	path   string // from the repository's root, with slashes
	lines  []string
	fences []fence
}

// fence is a block of code.
type fence struct {
	language string
	line     int // number of the first line of text
	text     string
	with     string // what completes it; empty for nothing
}

// name is the file's name without extension, or the name of the folder of a README.
func (d *document) name() string {
	base := strings.TrimSuffix(filepath.Base(d.path), ".md")
	if dir := filepath.ToSlash(filepath.Dir(d.path)); base == "README" && dir != "." {
		return strings.ReplaceAll(dir, "/", "-")
	}
	return strings.ToLower(base)
}

// documents reads every Markdown file that belongs to the repository.
func documents(t *testing.T) []*document {
	t.Helper()
	var all []*document
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			name := entry.Name()
			if name == "testdata" || name == "templates" || name == "node_modules" || name == "dist" || (strings.HasPrefix(name, ".") && path != root) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, parseDocument(filepath.ToSlash(relative), data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"README.md", "SECURITY.md", "docs/index.md", "docs/guides/troubleshooting.md", "docs/resources/key_server.md"} {
		if !slices.ContainsFunc(all, func(d *document) bool { return d.path == must }) {
			t.Fatalf("%s is not among the %d documents", must, len(all))
		}
	}
	return all
}

// parsed returns one document.
func parsed(t *testing.T, path string) *document {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return parseDocument(path, data)
}

var withComment = regexp.MustCompile(`^<!-- with ([a-z0-9_]+) -->$`)

func parseDocument(path string, data []byte) *document {
	d := &document{path: path, lines: strings.Split(string(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))), "\n")}
	var open *fence
	indent, with := "", ""
	for i, line := range d.lines {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && trimmed == "```":
			d.fences = append(d.fences, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case strings.HasPrefix(trimmed, "```"):
			indent = line[:strings.Index(line, "```")]
			open = &fence{language: strings.TrimPrefix(trimmed, "```"), line: i + 2, with: with}
			with = ""
		case trimmed == "":
		default:
			with = ""
			if m := withComment.FindStringSubmatch(trimmed); m != nil {
				with = m[1]
			}
		}
	}
	return d
}

// prose calls f for every line outside blocks of code.
func (d *document) prose(f func(number int, line string)) {
	inside := false
	for i, line := range d.lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inside = !inside
			continue
		}
		if !inside {
			f(i+1, line)
		}
	}
}

func TestParseDocument(t *testing.T) {
	d := parseDocument("x/README.md", []byte("a\n\n<!-- with keys -->\n\n```hcl\na = 1\n```\n\n- b\n\n  ```sh\n  ls\n    x\n  ```\n"))
	want := []fence{{"hcl", 6, "a = 1\n", "keys"}, {"sh", 12, "ls\n  x\n", ""}}
	if !slices.Equal(d.fences, want) {
		t.Errorf("fences %+v", d.fences)
	}
	if d.name() != "x" || parseDocument("README.md", nil).name() != "readme" || parseDocument("docs/guides/kubernetes.md", nil).name() != "kubernetes" {
		t.Error("names")
	}
	var prose []string
	d.prose(func(_ int, line string) { prose = append(prose, line) })
	if got := strings.Join(prose, "|"); got != "a||<!-- with keys -->|||- b||" {
		t.Errorf("prose %q", got)
	}
}

// TestFencesAreClosed: an open one would hide the rest of its document from every other test.
func TestFencesAreClosed(t *testing.T) {
	for _, d := range documents(t) {
		n := 0
		for _, line := range d.lines {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				n++
			}
		}
		if n != 2*len(d.fences) {
			t.Errorf("%s: %d lines begin or end %d blocks of code", d.path, n, len(d.fences))
		}
	}
}
