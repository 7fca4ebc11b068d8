//go:build unix

package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// TestInterruptedTLSFiles is what whoever comes next does about a set whose
// maker was killed with some of the files named.
func TestInterruptedTLSFiles(t *testing.T) {
	t.Parallel()
	files := []tlsmaterials.File{{Path: "a.pem", Data: []byte("a")}, {Path: "sub/b.pem", Data: []byte("b"), Secret: true}, {Path: "c.pem", Data: []byte("c")}}
	for _, tt := range []struct {
		name   string
		linked int  // files that have their names
		staged int  // files that were written
		alive  bool // the maker
		want   []string
	}{
		{"before anything was named", 0, 2, false, nil},
		{"with one named", 1, 3, false, nil},
		{"with all but one", 2, 3, false, nil},
		{"with all of them", 3, 3, false, []string{"a.pem", "c.pem", "sub/b.pem"}},
		{"maker at work", 1, 3, true, []string{".cc-tmp-x/a.pem", ".cc-tmp-x/c.pem", ".cc-tmp-x/sub/b.pem", "a.pem"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			stage := filepath.Join(dir, ".cc-tmp-x")
			if err := os.Mkdir(stage, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := writeTLSFiles(stage, files[:tt.staged]); err != nil {
				t.Fatal(err)
			}
			for _, f := range files[:tt.linked] {
				to := filepath.Join(dir, f.Path)
				if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Link(filepath.Join(stage, f.Path), to); err != nil {
					t.Fatal(err)
				}
			}
			if tt.alive {
				unlock, err := lockTLSStage(stage)
				if err != nil {
					t.Fatal(err)
				}
				defer unlock()
			}
			if err := recoverTLSFiles(dir); err != nil {
				t.Fatal(err)
			}
			var got []string
			for name := range snapshot(t, dir) {
				if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && name != "mine" {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("files (-want +got)\n%s", diff)
			}
			if err := addTLSFiles(dir, files); (tt.linked == 3 || tt.alive) != errors.Is(err, fs.ErrExist) {
				t.Errorf("the same once more: %v", err)
			}
		})
	}
	// One that somebody else has changed meanwhile is theirs.
	dir := t.TempDir()
	stage := filepath.Join(dir, ".cc-tmp-x")
	if err := errors.Join(os.Mkdir(stage, 0o700), writeTLSFiles(stage, files)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.pem"), []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := recoverTLSFiles(dir); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "a.pem")); string(text) != "somebody else's" {
		t.Errorf("it is %q, %v", text, err)
	}
}
