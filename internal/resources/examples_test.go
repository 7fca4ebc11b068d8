package resources_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// examples is the folder of examples, from here.
var examples = filepath.Join("..", "..", "examples")

// exampleFolders lists the folders with Terraform configurations.
func exampleFolders(t *testing.T) []string {
	t.Helper()
	var folders []string
	err := filepath.WalkDir(examples, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".terraform") || d.Name() == "work") { // what the quickstart makes
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".tf" && !slices.Contains(folders, filepath.Dir(path)) {
			folders = append(folders, filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) < 3 {
		t.Fatalf("only %d folders have examples: %v", len(folders), folders)
	}
	return folders
}

// TestExamplesAreValid runs terraform validate on every configuration that the
// documentation shows, with the built provider.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	for _, folder := range exampleFolders(t) {
		name, err := filepath.Rel(examples, folder)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			w := newWorkspace(t, "")
			w.dir = exampleTree(t, name)
			if !mentions(t, w.dir, "required_providers") {
				mustWrite(t, filepath.Join(w.dir, "terraform.tf"), []byte(terraformBlock), 0o600)
			}
			if mentions(t, w.dir, "\nmodule \"") {
				w.terraform("get")
			}
			w.terraform("validate")
		})
	}
}

// exampleTree is a copy of an example that Terraform may write into, with the
// modules and the quickstart's model where they are from there.
func exampleTree(t *testing.T, name string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "examples", name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(examples, name))); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"modules", filepath.Join("examples", "quickstart", "model")} {
		target, err := filepath.Abs(filepath.Join("..", "..", folder))
		if err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(root, folder)
		if _, err := os.Stat(link); err == nil {
			continue // it is the example itself
		}
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mentions(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool { return strings.Contains(string(mustRead(t, f)), text) })
}

func TestExamplesAreFormatted(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("terraform", "fmt", "-check", "-diff", "-recursive", examples, filepath.Join("..", "..", "modules"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
