package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

const digitsGraph = "../../examples/quickstart/model/digits.pb"

// modelSpec is a spec with a copy of the quickstart's graph as its source.
func modelSpec(t *testing.T) SavedModelSpec {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(digitsGraph)
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "graph.pb")
	if err := os.WriteFile(source, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return SavedModelSpec{Source: source, ExportDir: filepath.Join(dir, "models", "digits"), Version: 1}
}

func publishModel(t *testing.T, spec SavedModelSpec, opts PublishOptions) SavedModel {
	t.Helper()
	model, err := PublishSavedModel(t.Context(), spec, opts)
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// listing is every name below a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir && !d.IsDir() {
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			names = append(names, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestPublishSavedModel(t *testing.T) {
	spec := modelSpec(t)
	var written int64
	spec.Progress = func(n int64) { written += n }
	model := publishModel(t, spec, PublishOptions{})
	data, err := os.ReadFile(spec.File())
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); model.SHA256 != hex.EncodeToString(sum[:]) || model.Size != int64(len(data)) || written != model.Size {
		t.Errorf("%+v, progress %d; the file has %d bytes and the digest %x", model, written, len(data), sum)
	}
	if !model.Written || model.Digest != "" || model.File != filepath.Join(spec.ExportDir, "1", "saved_model.pb") {
		t.Errorf("%+v", model)
	}
	if got := listing(t, spec.ExportDir); got != "1/saved_model.pb" {
		t.Errorf("the export directory has %s", got)
	}
	info, err := InspectSavedModel(spec.VersionDir())
	if err != nil || info.Kind != savedmodel.SavedModel || !info.Servable {
		t.Errorf("%+v, %v", info, err)
	}
	if err := CompareSavedModel(t.Context(), spec); err != nil {
		t.Error(err)
	}
	again := publishModel(t, spec, PublishOptions{})
	if again.Written || again.SHA256 != model.SHA256 {
		t.Errorf("published again: %+v", again)
	}
}

func TestPublishedModes(t *testing.T) {
	for source, want := range map[fs.FileMode][2]fs.FileMode{
		0o600: {0o600, 0o700},
		0o640: {0o640, 0o750},
		0o644: {0o644, 0o755},
		0o400: {0o600, 0o700},
	} {
		spec := modelSpec(t)
		if err := os.Chmod(spec.Source, source); err != nil {
			t.Fatal(err)
		}
		publishModel(t, spec, PublishOptions{})
		for path, mode := range map[string]fs.FileMode{spec.File(): want[0], spec.VersionDir(): want[1]} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != mode {
				t.Errorf("source %04o: %s has %04o, want %04o", source, path, info.Mode().Perm(), mode)
			}
		}
	}
}

// otherModel makes the source another graph, of one more field that is unknown.
func otherModel(t *testing.T, spec SavedModelSpec) {
	t.Helper()
	f, err := os.OpenFile(spec.Source, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{0xfa, 0x3e, 0x01, 0x00}); err != nil { // field 1007
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestExistingVersions(t *testing.T) {
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		before  func(*testing.T, SavedModelSpec)
		replace bool
		want    string // of the error; empty: published
	}{
		{"other content", func(t *testing.T, s SavedModelSpec) { write(t, s.File(), "a model") }, false,
			"FILE: the version exists with other content: publish the model under another version, or delete that one if no server needs it"},
		{"other content of the same size", func(t *testing.T, s SavedModelSpec) {
			m := publishModel(t, s, PublishOptions{})
			write(t, s.File(), strings.Repeat("x", int(m.Size)))
		}, false, "FILE: the version exists with other content"},
		{"to be replaced", func(t *testing.T, s SavedModelSpec) { write(t, s.File(), "a model") }, true, ""},
		{"empty directory", func(t *testing.T, s SavedModelSpec) {
			write(t, s.VersionDir()+"/x", "")
			_ = os.Remove(s.VersionDir() + "/x")
		}, false, ""},
		{"directory of other files", func(t *testing.T, s SavedModelSpec) { write(t, s.VersionDir()+"/variables/x", "") }, false,
			"FILE: the version exists with other content: DIR has other files, such as variables"},
		{"directory of other files, to be replaced", func(t *testing.T, s SavedModelSpec) { write(t, s.VersionDir()+"/assets.extra/x", "") }, true, ""},
		{"same version with zeros", func(t *testing.T, s SavedModelSpec) { write(t, filepath.Join(s.ExportDir, "001", "x"), "") }, false,
			"is the same version to TensorFlow Serving"},
		{"other version", func(t *testing.T, s SavedModelSpec) { write(t, filepath.Join(s.ExportDir, "2", "x"), "") }, false, ""},
		{"directory in the file's place", func(t *testing.T, s SavedModelSpec) { write(t, s.File()+"/x", "") }, false,
			"the version exists with other content: it cannot be read: it is not a regular file but a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := modelSpec(t)
			tt.before(t, spec)
			before := listing(t, spec.ExportDir)
			_, err := PublishSavedModel(t.Context(), spec, PublishOptions{Replace: tt.replace})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := CompareSavedModel(t.Context(), spec); err != nil {
					t.Error(err)
				}
				return
			}
			want := strings.NewReplacer("FILE", spec.File(), "DIR", spec.VersionDir()).Replace(tt.want)
			if !errors.Is(err, ErrModelExists) || !strings.Contains(err.Error(), want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if after := listing(t, spec.ExportDir); after != before {
				t.Errorf("left %q, before %q", after, before)
			}
		})
	}
}

func TestSourceErrors(t *testing.T) {
	good := modelSpec(t)
	tests := []struct {
		name   string
		change func(*SavedModelSpec)
		want   string
	}{
		{"missing", func(s *SavedModelSpec) { s.Source = "no/such.pb" }, "convert no/such.pb: no such file or directory"},
		{"directory", func(s *SavedModelSpec) { s.Source = filepath.Dir(s.Source) }, "the directory has no saved_model.pb"},
		{"negative version", func(s *SavedModelSpec) { s.Version = -1 }, "model version -1 is negative, and TensorFlow Serving does not count so"},
		{"other digest", func(s *SavedModelSpec) { s.SourceSHA256 = strings.Repeat("0", 64) },
			"it is not the pinned file: its SHA-256 is 605532ce5fe8e1c35b8729e6bb541d3910a827cb0358c11090fe5a1c8c4fcb67, not 0000"},
		{"no such output", func(s *SavedModelSpec) { s.Outputs = []savedmodel.TensorSpec{{Node: "none"}} },
			`make signature: output "none": the graph has no node "none"; nodes that nobody consumes are predict`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := good
			tt.change(&spec)
			_, err := PublishSavedModel(t.Context(), spec, PublishOptions{Digest: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if _, err := PlanSavedModel(t.Context(), spec, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("plan: got  %v\nwant %s", err, tt.want)
			}
			var se *SourceError
			if err := CompareSavedModel(t.Context(), spec); !errors.As(err, &se) {
				t.Errorf("compare: %v is not a SourceError", err)
			}
		})
	}
	if _, err := os.Stat(good.ExportDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failure left the export directory: %v", err)
	}
	good.SourceSHA256 = "605532ce5fe8e1c35b8729e6bb541d3910a827cb0358c11090fe5a1c8c4fcb67"
	publishModel(t, good, PublishOptions{})
}

// TestInterrupted stops between any two writes: no version must appear, and no
// temporary directory stay.
func TestInterrupted(t *testing.T) {
	for stop := range 4 {
		spec := modelSpec(t)
		ctx, cancel := context.WithCancel(t.Context())
		count := 0
		spec.Progress = func(int64) {
			if count++; count > stop {
				cancel()
			}
		}
		if stop == 0 {
			cancel()
		}
		_, err := PublishSavedModel(ctx, spec, PublishOptions{})
		cancel()
		if errors.Is(err, context.Canceled) {
			if got := listing(t, spec.ExportDir); got != "" {
				t.Errorf("stopped at write %d: %s is left", stop, got)
			}
			if entries, err := os.ReadDir(spec.ExportDir); err == nil && len(entries) > 0 {
				t.Errorf("stopped at write %d: %s is left", stop, entries[0].Name())
			}
		} else if err != nil || stop < 1 {
			t.Errorf("stopped at write %d: %v", stop, err)
		}
	}
}

// TestSourceChangesMeanwhile must not publish half of two graphs.
func TestSourceChangesMeanwhile(t *testing.T) {
	spec := modelSpec(t)
	spec.Progress = func(int64) { otherModel(t, spec) }
	_, err := PublishSavedModel(t.Context(), spec, PublishOptions{})
	if err == nil || !strings.Contains(err.Error(), "it was changed while it was read") {
		t.Errorf("got %v", err)
	}
	if got := listing(t, spec.ExportDir); got != "" {
		t.Errorf("%s is left", got)
	}
}

// TestConcurrentPublishers all succeed with one content, and exactly one does
// with several.
func TestConcurrentPublishers(t *testing.T) {
	same := modelSpec(t)
	specs := make([]SavedModelSpec, 8)
	for i := range specs {
		specs[i] = same
	}
	if ok := publishAll(t, specs); ok != len(specs) {
		t.Errorf("%d of %d published the same model", ok, len(specs))
	}
	for i := range specs {
		specs[i] = modelSpec(t)
		specs[i].ExportDir = filepath.Join(same.ExportDir, "other")
		for range i {
			otherModel(t, specs[i])
		}
	}
	if ok := publishAll(t, specs); ok != 1 {
		t.Errorf("%d different models were published as one version", ok)
	}
	if got := listing(t, specs[0].ExportDir); got != "1/saved_model.pb" {
		t.Errorf("left %s", got)
	}
}

func publishAll(t *testing.T, specs []SavedModelSpec) int {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	ok := 0
	for _, spec := range specs {
		wg.Go(func() {
			_, err := PublishSavedModel(t.Context(), spec, PublishOptions{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				ok++
			case !errors.Is(err, ErrModelExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return ok
}

func TestSavedModelDigest(t *testing.T) {
	spec := modelSpec(t)
	if _, err := PlanSavedModel(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	model := publishModel(t, spec, PublishOptions{Digest: true})
	if !regexp.MustCompile(`^hmac-sha256:[0-9a-f]{8}:[0-9a-f]{64}$`).MatchString(model.Digest) {
		t.Fatalf("digest %q", model.Digest)
	}
	keyFile := filepath.Join(spec.ExportDir, DigestKeyName)
	if info, err := os.Stat(keyFile); err != nil || info.Mode() != 0o600 || info.Size() != digestKeySize {
		t.Fatalf("%v, %v", info, err)
	}
	key, err := OpenDigestKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := PlanSavedModel(t.Context(), spec, key); err != nil || plan.Digest != model.Digest {
		t.Errorf("the plan says %s, %v", plan.Digest, err)
	}
	if err := CheckSavedModel(t.Context(), spec, nil, key, model.Digest); err != nil {
		t.Error(err)
	}

	spec2 := modelSpec(t)
	model2 := publishModel(t, spec2, PublishOptions{Digest: true})
	if model2.SHA256 != model.SHA256 || model2.Digest == model.Digest {
		t.Error("the digests of one model under two keys are the same")
	}
	if err := CheckSavedModel(t.Context(), spec, nil, key, model2.Digest); !errors.Is(err, ErrOtherDigestKey) {
		t.Errorf("got %v", err)
	}
	spec2.ExportDir += "-shared"
	shared := publishModel(t, spec2, PublishOptions{Digest: true, DigestKeyFile: keyFile})
	if shared.Digest != model.Digest {
		t.Errorf("under one key file the digests are %s and %s", shared.Digest, model.Digest)
	}
	if got := listing(t, spec2.ExportDir); got != "1/saved_model.pb" {
		t.Errorf("the export directory has %s", got)
	}

	if err := os.WriteFile(spec.File(), []byte("tampered"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckSavedModel(t.Context(), spec, nil, key, model.Digest); !errors.Is(err, ErrModelChanged) {
		t.Errorf("got %v", err)
	}
	if err := CompareSavedModel(t.Context(), spec); !errors.Is(err, ErrModelChanged) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(spec.File()); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{CheckSavedModel(t.Context(), spec, nil, key, model.Digest), CompareSavedModel(t.Context(), spec)} {
		var se *SourceError
		if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &se) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDigestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if _, err := OpenDigestKey(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for size, want := range map[int]string{15: "it has 15 bytes, want 16 to 4096 secret ones", 4097: "it has 4097 bytes", 16: ""} {
		if err := os.WriteFile(path, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenDigestKey(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			key, err := CreateDigestKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = key.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || len(id) != 8 {
			t.Errorf("ids %q: all must have one key", ids)
		}
	}
	key, err := OpenDigestKey(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := hex.EncodeToString(key.key[:])
	for _, shown := range []string{fmt.Sprint(key), fmt.Sprintf("%+v %#v %x %s", key, key, key, *key), fmt.Sprintf("%v", struct{ K DigestKey }{*key})} {
		if strings.Contains(shown, secret) || strings.Contains(shown, fmt.Sprint(key.key[0], key.key[1])) || !strings.Contains(shown, "redacted") {
			t.Errorf("a key is shown as %s", shown)
		}
	}
}

func TestRemoveSavedModel(t *testing.T) {
	spec := modelSpec(t)
	publishModel(t, spec, PublishOptions{Digest: true})
	second := spec
	second.Version = 2
	publishModel(t, second, PublishOptions{Digest: true})
	mine := filepath.Join(second.VersionDir(), "assets.extra")
	if err := os.Mkdir(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to do
		if err := RemoveSavedModel(spec.ExportDir, 1, nil); err != nil {
			t.Fatal(err)
		}
		if got := listing(t, spec.ExportDir); got != ".digest-key 2/saved_model.pb" {
			t.Errorf("left %s", got)
		}
	}
	if err := RemoveSavedModel(spec.ExportDir, 2, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("what somebody put there is gone: %v", err)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if err := RemoveSavedModel(spec.ExportDir, 2, nil); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(spec.ExportDir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if err := RemoveSavedModel(filepath.Join(spec.ExportDir, "never"), 1, nil); err != nil {
		t.Error(err)
	}
}

func TestInspectSavedModelErrors(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.pb"): "none.pb: no such file or directory",
		dir:                           "saved_model.pb: no such file or directory",
	} {
		if _, err := InspectSavedModel(path); err == nil || !strings.HasPrefix(err.Error(), "inspect ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if info, err := InspectSavedModel(digitsGraph); err != nil || info.Nodes != 65 {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestAdoptSavedModel finds the words that a model was converted with.
func TestAdoptSavedModel(t *testing.T) {
	for _, tt := range []struct{ inputs, outputs, want string }{
		{"input", "predict", "input predict"},
		{"input=input:0", "predict=predict@float32", "input predict"},
		{"image=input@float32[2,8,8,1]", "predict", "image=input@float32[2,8,8,1] predict@float32[-1,10]"},
		{"input", "predict,pool,loud=conv1/Relu", "input loud=conv1/Relu,pool,predict"},
	} {
		spec := modelSpec(t)
		bare := spec
		var err error
		if spec.Inputs, err = savedmodel.ParseTensorSpecs(tt.inputs); err != nil {
			t.Fatal(err)
		}
		if spec.Outputs, err = savedmodel.ParseTensorSpecs(tt.outputs); err != nil {
			t.Fatal(err)
		}
		publishModel(t, spec, PublishOptions{})
		got, err := AdoptSavedModel(t.Context(), bare)
		if err != nil {
			t.Fatal(err)
		}
		words := func(specs []savedmodel.TensorSpec) string {
			var all []string
			for _, s := range specs {
				all = append(all, s.String())
			}
			return strings.Join(all, ",")
		}
		if got := words(got.Inputs) + " " + words(got.Outputs); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		otherModel(t, bare)
		if _, err := AdoptSavedModel(t.Context(), bare); !errors.Is(err, ErrModelChanged) {
			t.Errorf("another source: %v", err)
		}
	}
	spec := modelSpec(t)
	if _, err := AdoptSavedModel(t.Context(), spec); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no model: %v", err)
	}
	if err := os.MkdirAll(spec.VersionDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(spec.Source, spec.File()); err != nil {
		t.Fatal(err)
	}
	if _, err := AdoptSavedModel(t.Context(), spec); !errors.Is(err, ErrModelChanged) || !strings.Contains(err.Error(), "it is a frozen graph with 0 graphs") {
		t.Errorf("a frozen graph in its place: %v", err)
	}
}

// TestRemoteSavedModel publishes a graph from a URL, and looks at the result
// without fetching it again.
func TestRemoteSavedModel(t *testing.T) {
	s := newFileServer(t)
	var err error
	if s.content, err = os.ReadFile(digitsGraph); err != nil {
		t.Fatal(err)
	}
	spec := SavedModelSpec{
		Source: s.URL + "/digits.pb", SourceSHA256: s.sum(), Client: s.Client(), ExportDir: filepath.Join(t.TempDir(), "models"), Version: 1,
	}
	model := publishModel(t, spec, PublishOptions{Digest: true})
	if got := listing(t, spec.ExportDir); got != ".digest-key 1/saved_model.pb" {
		t.Errorf("the export directory has %s", got)
	}
	local := modelSpec(t)
	local.ExportDir = spec.ExportDir
	if err := CompareSavedModel(t.Context(), local); err != nil {
		t.Errorf("it is not the model of the same graph as a file: %v", err)
	}
	if err := CompareSavedModel(t.Context(), spec); err != nil {
		t.Error(err)
	}
	if len(s.requests) != 1 {
		t.Errorf("%d requests", len(s.requests))
	}
	if _, err := PlanSavedModel(t.Context(), spec, nil); !errors.Is(err, errNotFetched) {
		t.Errorf("got %v", err)
	}
	other := spec
	other.SourceSHA256 = strings.Repeat("0", 64)
	renamed := spec
	renamed.Outputs = []savedmodel.TensorSpec{{Key: "scores", Node: "predict"}}
	for _, s := range []SavedModelSpec{other, renamed} {
		if err := CompareSavedModel(t.Context(), s); !errors.Is(err, ErrModelChanged) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := PublishSavedModel(t.Context(), other, PublishOptions{}); !errors.Is(err, ErrSourceDigest) {
		t.Errorf("got %v", err)
	}
	if got := listing(t, spec.ExportDir); got != ".digest-key 1/saved_model.pb" {
		t.Errorf("a failure left %s", got)
	}
	key, err := OpenDigestKey(filepath.Join(spec.ExportDir, DigestKeyName))
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := DigestSavedModel(t.Context(), spec, nil, key); err != nil || digest != model.Digest {
		t.Errorf("%s, %v", digest, err)
	}
	bad := SavedModelSpec{Source: "http://127.0.0.1/x", ExportDir: filepath.Join(t.TempDir(), "never")}
	if _, err := PublishSavedModel(t.Context(), bad, PublishOptions{}); err == nil || !strings.Contains(err.Error(), "want https or file") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(bad.ExportDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failure left a directory: %v", err)
	}
}

const textGraph = `# A graph as tf.io.write_graph writes it.
node { name: "input" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: -1 } dim { size: 4 } } } } }
node { name: "predict" op: "Softmax" input: "input" attr { key: "T" value { type: DT_FLOAT } } }
versions { producer: 27 }
`

// TestTextGraph converts a graph in text form like its binary form.
func TestTextGraph(t *testing.T) {
	spec := modelSpec(t)
	if err := os.WriteFile(spec.Source, []byte(textGraph), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := InspectSavedModel(spec.Source)
	if err != nil || info.Kind != savedmodel.FrozenGraphText || info.Size != int64(len(textGraph)) || info.Nodes != 2 || !info.Servable {
		t.Fatalf("%+v, %v", info, err)
	}
	model := publishModel(t, spec, PublishOptions{})
	if got := model.Inputs[0]; got.DType != savedmodel.Float32 || got.Shape.String() != "[-1,4]" {
		t.Errorf("%+v", got)
	}
	if err := CompareSavedModel(t.Context(), spec); err != nil {
		t.Error(err)
	}
	published, err := InspectSavedModel(spec.VersionDir())
	if err != nil || published.Producer != 27 || published.Nodes != 2 {
		t.Errorf("%+v, %v", published, err)
	}
	if err := os.WriteFile(spec.Source, []byte("node {\n  nome: 1 }"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `read graph in text form: line 2, column 3: NodeDef has no field "nome"`
	if _, err := InspectSavedModel(spec.Source); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if _, err := PlanSavedModel(t.Context(), spec, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}

	s := newFileServer(t)
	s.content = []byte(textGraph)
	remote := SavedModelSpec{Source: s.URL + "/graph.pbtxt", SourceSHA256: s.sum(), Client: s.Client(), ExportDir: filepath.Join(t.TempDir(), "models")}
	if _, err := PublishSavedModel(t.Context(), remote, PublishOptions{}); err == nil || !strings.Contains(err.Error(), "a graph that is fetched must be in binary form") {
		t.Errorf("got %v", err)
	}
}
