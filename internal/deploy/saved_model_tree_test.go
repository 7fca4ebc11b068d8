package deploy

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

const oneShard = "variables/variables.data-00000-of-00001"

// writeTree makes a directory of files.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// treeSpec is a spec whose source is a SavedModel's directory.
func treeSpec(t *testing.T) SavedModelSpec {
	t.Helper()
	from := modelSpec(t)
	model := publishModel(t, from, PublishOptions{})
	data, err := os.ReadFile(model.File)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "source")
	writeTree(t, dir, map[string]string{
		savedmodel.FileName: string(data), savedmodel.VariablesIndex: strings.Repeat("\x00", 48) + tableMagic, oneShard: "values", "assets/words.txt": "one",
	})
	return SavedModelSpec{Source: dir, ExportDir: filepath.Join(t.TempDir(), "models"), Version: 5}
}

func TestPublishTree(t *testing.T) {
	spec := treeSpec(t)
	model := publishModel(t, spec, PublishOptions{Digest: true})
	want := []string{"assets/words.txt", savedmodel.FileName, oneShard, savedmodel.VariablesIndex}
	if !slices.Equal(model.Files, want) || !model.Written || model.Optimization != nil || len(model.Inputs) != 1 || model.Size < 37000 {
		t.Errorf("%+v", model)
	}
	if got := listing(t, spec.ExportDir); got != strings.Join([]string{DigestKeyName, "5/assets/words.txt", "5/saved_model.pb", "5/" + oneShard, "5/" + savedmodel.VariablesIndex}, " ") {
		t.Errorf("published %s", got)
	}
	for _, name := range want {
		source, err1 := os.ReadFile(filepath.Join(spec.Source, filepath.FromSlash(name)))
		copied, err2 := os.ReadFile(spec.path(name))
		if err1 != nil || err2 != nil || !bytes.Equal(source, copied) {
			t.Errorf("%s is not a copy: %v, %v", name, err1, err2)
		}
	}
	again := publishModel(t, spec, PublishOptions{Digest: true})
	if again.Written || again.Digest != model.Digest {
		t.Errorf("again: %+v", again)
	}
	key, err := OpenDigestKey(filepath.Join(spec.ExportDir, DigestKeyName))
	if err != nil {
		t.Fatal(err)
	}
	planned, err := PlanSavedModel(t.Context(), spec, key)
	if err != nil || planned.Digest != model.Digest {
		t.Errorf("planned %s, published %s, %v", planned.Digest, model.Digest, err)
	}
	check := func() error { return CheckSavedModel(t.Context(), spec, model.Files, key, model.Digest) }
	if err := check(); err != nil {
		t.Error(err)
	}
	// The same bytes in other files are another model.
	moved := spec.path("assets/other.txt")
	if err := os.Rename(spec.path("assets/words.txt"), moved); err != nil {
		t.Fatal(err)
	}
	if err := check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	files := slices.Clone(model.Files)
	files[0] = "assets/other.txt"
	if err := CheckSavedModel(t.Context(), spec, files, key, model.Digest); !errors.Is(err, ErrModelChanged) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(moved); err != nil {
		t.Fatal(err)
	}
	if err := RemoveSavedModel(spec.ExportDir, spec.Version, model.Files); err != nil || listing(t, spec.ExportDir) != "" {
		t.Errorf("%v, left %s", err, listing(t, spec.ExportDir))
	}
	if err := RemoveSavedModel(spec.ExportDir, spec.Version, []string{"../../x"}); err == nil || !strings.Contains(err.Error(), `"../../x" is not below it`) {
		t.Errorf("got %v", err)
	}
}

// TestReplaceTree swaps whole directories, and loses nothing that is not its own.
func TestReplaceTree(t *testing.T) {
	spec := treeSpec(t)
	first := publishModel(t, spec, PublishOptions{})
	if err := os.Remove(filepath.Join(spec.Source, "assets", "words.txt")); err != nil {
		t.Fatal(err)
	}
	writeTree(t, spec.Source, map[string]string{oneShard: "other values", "assets.extra/warmup": "x"})
	if _, err := PublishSavedModel(t.Context(), spec, PublishOptions{}); !errors.Is(err, ErrModelExists) {
		t.Fatalf("replaced without being allowed to: %v", err)
	}
	stale := spec
	stale.Files = first.Files
	if _, err := PublishSavedModel(t.Context(), stale, PublishOptions{Replace: true, Owned: first.Files}); !errors.Is(err, ErrFilesChanged) {
		t.Fatalf("got %v", err)
	}
	writeTree(t, spec.VersionDir(), map[string]string{"notes.txt": "somebody's"})
	_, err := PublishSavedModel(t.Context(), spec, PublishOptions{Replace: true, Owned: first.Files})
	if !errors.Is(err, ErrModelExists) || !strings.Contains(err.Error(), "has a file that was not published with it, notes.txt, and would be lost: move it away") {
		t.Fatalf("got %v", err)
	}
	if err := os.Remove(spec.path("notes.txt")); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" { // a link is somebody's too
		if err := os.Symlink("saved_model.pb", spec.path("a-link")); err != nil {
			t.Fatal(err)
		}
		_, err := PublishSavedModel(t.Context(), spec, PublishOptions{Replace: true, Owned: first.Files})
		if !errors.Is(err, ErrModelExists) || !strings.Contains(err.Error(), `cannot be replaced: "a-link" is not a regular file but`) {
			t.Fatalf("got %v", err)
		}
		if err := os.Remove(spec.path("a-link")); err != nil {
			t.Fatal(err)
		}
	}
	second := publishModel(t, spec, PublishOptions{Replace: true, Owned: first.Files})
	if got := listing(t, spec.ExportDir); got != "5/assets.extra/warmup 5/saved_model.pb 5/"+oneShard+" 5/"+savedmodel.VariablesIndex {
		t.Errorf("published %s", got)
	}
	// A frozen graph under the same version: the variables go.
	graph := modelSpec(t)
	graph.ExportDir, graph.Version = spec.ExportDir, spec.Version
	publishModel(t, graph, PublishOptions{Replace: true, Owned: second.Files})
	if got := listing(t, spec.ExportDir); got != "5/saved_model.pb" {
		t.Errorf("published %s", got)
	}
}

func TestTreeErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, s *SavedModelSpec)
		want   string
	}{
		{"link", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			if err := os.Symlink("/etc/hostname", filepath.Join(s.Source, "assets", "link")); err != nil {
				t.Skip(err)
			}
		}, `"assets/link" is not a regular file but`},
		{"no model", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			if err := os.Remove(filepath.Join(s.Source, savedmodel.FileName)); err != nil {
				t.Fatal(err)
			}
		}, "the directory has no saved_model.pb, so it is not a SavedModel's version directory"},
		{"chunked", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			if err := os.Rename(filepath.Join(s.Source, savedmodel.FileName), filepath.Join(s.Source, "saved_model.cpb")); err != nil {
				t.Fatal(err)
			}
		}, "its model is in the chunked form of TensorFlow 2.15 (saved_model.cpb), and cannot be checked here: export it as saved_model.pb"},
		{"graph", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			data, err := os.ReadFile(digitsGraph)
			if err != nil {
				t.Fatal(err)
			}
			writeTree(t, s.Source, map[string]string{savedmodel.FileName: string(data)})
		}, "saved_model.pb is a frozen graph: name the file itself as the source"},
		{"damaged model", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			writeTree(t, s.Source, map[string]string{savedmodel.FileName: "\x08\x01\x12\xff"})
		}, "saved_model.pb: inspect model: "},
		{"damaged index", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			writeTree(t, s.Source, map[string]string{savedmodel.VariablesIndex: strings.Repeat("x", 100)})
		}, "variables/variables.index: it is not the index of a checkpoint, or is cut off"},
		{"short index", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			writeTree(t, s.Source, map[string]string{savedmodel.VariablesIndex: tableMagic})
		}, "variables/variables.index: it is not the index of a checkpoint, or is cut off"},
		{"lost values", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			if err := os.Remove(filepath.Join(s.Source, filepath.FromSlash(oneShard))); err != nil {
				t.Fatal(err)
			}
		}, "the graph cannot be served: the values of the variables are missing"},
		{"deep", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			writeTree(t, s.Source, map[string]string{strings.Repeat("d/", 16) + "f": ""})
		}, "is nested more than 16 deep"},
		{"name", func(t *testing.T, s *SavedModelSpec) {
			t.Helper()
			if runtime.GOOS == "windows" {
				t.Skip("no such names there")
			}
			writeTree(t, s.Source, map[string]string{"assets/a\nb": ""})
		}, `the name "assets/a\nb" cannot be used on every system`},
		{"optimised", func(_ *testing.T, s *SavedModelSpec) { s.Optimize = true }, "only a frozen graph is optimised"},
		{"pinned", func(_ *testing.T, s *SavedModelSpec) { s.SourceSHA256 = strings.Repeat("0", 64) }, "it is a directory, which has no SHA-256 of its own"},
		{"outputs", func(_ *testing.T, s *SavedModelSpec) { s.Outputs = []savedmodel.TensorSpec{{Node: "x"}} }, "inputs and outputs are for frozen graphs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := treeSpec(t)
			tt.change(t, &spec)
			_, err := PublishSavedModel(t.Context(), spec, PublishOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if got := listing(t, spec.ExportDir); got != "" {
				t.Errorf("left %s", got)
			}
		})
	}
}

// TestTreeChangesMeanwhile must not publish half of another model.
func TestTreeChangesMeanwhile(t *testing.T) {
	spec := treeSpec(t)
	changed := false
	spec.Progress = func(int64) {
		if !changed { // while the first file is copied
			changed = true
			writeTree(t, spec.Source, map[string]string{oneShard: "other values of another size"})
		}
	}
	_, err := PublishSavedModel(t.Context(), spec, PublishOptions{})
	if err == nil || !strings.Contains(err.Error(), oneShard+": it was changed while it was read") || listing(t, spec.ExportDir) != "" {
		t.Errorf("got %v, left %s", err, listing(t, spec.ExportDir))
	}
	ctx, cancel := context.WithCancel(t.Context())
	spec.Progress = func(int64) { cancel() }
	if _, err := PublishSavedModel(ctx, spec, PublishOptions{}); !errors.Is(err, context.Canceled) || listing(t, spec.ExportDir) != "" {
		t.Errorf("got %v, left %s", err, listing(t, spec.ExportDir))
	}
}

// TestInspectTree describes a directory with what it lacks.
func TestInspectTree(t *testing.T) {
	spec := treeSpec(t)
	info, err := InspectSavedModel(spec.Source)
	if err != nil || !info.Servable {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := os.Remove(filepath.Join(spec.Source, filepath.FromSlash(savedmodel.VariablesIndex))); err != nil {
		t.Fatal(err)
	}
	info, err = InspectSavedModel(spec.Source)
	if err != nil || info.Servable || len(info.Problems) != 1 || !strings.Contains(info.Problems[0].Reason, "variables/variables.index is missing") {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestRealTrees has the smallest SavedModel that TensorFlow Serving's own tests
// serve, and one whose variables were left behind.
func TestRealTrees(t *testing.T) {
	models := testshared.Dir(t, "models")
	publish := func(name string) (SavedModelSpec, error) {
		data, err := os.ReadFile(filepath.Join(models, name))
		if err != nil {
			t.Fatal(err)
		}
		spec := SavedModelSpec{Source: filepath.Join(t.TempDir(), "1"), ExportDir: filepath.Join(t.TempDir(), "models"), Version: 1}
		writeTree(t, spec.Source, map[string]string{savedmodel.FileName: string(data)})
		_, err = PublishSavedModel(t.Context(), spec, PublishOptions{})
		return spec, err
	}
	if spec, err := publish("matrix_half_plus_two.saved_model.pb"); err != nil || listing(t, spec.ExportDir) != "1/saved_model.pb" {
		t.Errorf("%v, published %s", err, listing(t, spec.ExportDir))
	}
	if _, err := publish("regression.saved_model.pb"); err == nil ||
		!strings.Contains(err.Error(), `it is one of 2 variables, and variables/variables.index is missing, so they would be empty`) {
		t.Errorf("got %v", err)
	}
}
