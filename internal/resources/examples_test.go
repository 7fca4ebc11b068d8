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
			remove(t, filepath.Join(w.dir, "main.tf"))
			if err := os.CopyFS(w.dir, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}
			if !declaresProvider(t, w.dir) {
				mustWrite(t, filepath.Join(w.dir, "terraform.tf"), []byte(terraformBlock), 0o600)
			}
			w.terraform("validate")
		})
	}
}

func declaresProvider(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool { return strings.Contains(string(mustRead(t, f)), "required_providers") })
}

func TestExamplesAreFormatted(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("terraform", "fmt", "-check", "-diff", "-recursive", examples, filepath.Join("..", "..", "modules"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
