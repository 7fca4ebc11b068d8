package savedmodel

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// interopCase is what testdata/interop.py compares.
type interopCase struct {
	Graph string           `json:"graph"`
	Model string           `json:"model"`
	Feeds map[string][]int `json:"feeds"` // shapes
}

type interopResult struct {
	Model     string  `json:"model"`
	Loader    float64 `json:"loader"`
	TF2       float64 `json:"tf2"`
	Error     string  `json:"error"`
	Signature struct {
		Inputs  []tfTensor `json:"inputs"`
		Outputs []tfTensor `json:"outputs"`
		Method  string     `json:"method"`
	} `json:"signature"`
}

// tfTensor is a signature's entry as TensorFlow reads it.
type tfTensor struct {
	Key, Tensor, DType string
	Shape              []int64
}

// TestInterop asks TensorFlow itself: every model loads, says the signature that
// the report says, and answers bit for bit as the frozen graph does.
func TestInterop(t *testing.T) {
	python := os.Getenv("CC_TENSORFLOW_PYTHON")
	if python == "" {
		t.Skip("CC_TENSORFLOW_PYTHON does not name a Python that has tensorflow-cpu, which is too large to ask for in every run")
	}
	models := testshared.Dir(t, "models")
	image := map[string][]int{"X:0": {3, 784}}
	recurrent := map[string][]int{"X:0": {3, 784}, "keep_prob:0": {}}
	var cases []interopCase
	reports := map[string]*Report{}
	for _, m := range []struct {
		file, inputs, outputs string
		feeds                 map[string][]int
	}{
		{digits, "input", "predict", map[string][]int{"input:0": {5, 8, 8, 1}}},
		{digits, "image=input", "predict,features=pool,logits/BiasAdd:0@float32[-1,10]", map[string][]int{"input:0": {5, 8, 8, 1}}},
		{digits, "pool", "predict", map[string][]int{"pool:0": {2, 48}}},
		{"plus3.pb", "input", "output", map[string][]int{"input:0": {4}}},
		{"regression.pb", "X", "pred", map[string][]int{"X:0": {5}}},
		{"fc-layers.pb", "X", "output", image},
		{"ae0.pb", "X", "output", image},
		{"gru.pb", "X,keep_prob", "output", recurrent},
		{"lstm.pb", "X,keep_prob", "output", recurrent},
		{"hey_snips_3.pb", "inputs", "logits", map[string][]int{"inputs:0": {200, 40}}},
	} {
		if !strings.Contains(m.file, "/") {
			m.file = filepath.Join(models, m.file)
		}
		out, report := convertBytes(t, readFile(t, m.file), m.inputs, m.outputs)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), out, 0o600); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, interopCase{m.file, dir, m.feeds})
		reports[dir] = report
	}
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/interop.py")
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(cases) {
		t.Fatalf("%d answers for %d models:\n%s\n%s", len(lines), len(cases), out, &stderr)
	}
	for i, line := range lines {
		name := filepath.Base(cases[i].Graph)
		var r interopResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.Error != "" || r.Loader != 0 || r.TF2 != 0 || r.Signature.Method != PredictMethod {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		report := reports[r.Model]
		if diff := cmp.Diff(asTensorFlow(report.Inputs), r.Signature.Inputs) + cmp.Diff(asTensorFlow(report.Outputs), r.Signature.Outputs); diff != "" {
			t.Errorf("%s: the signature differs: %s", name, diff)
		}
		t.Logf("%s: %d inputs, %d outputs, largest difference %g (loader), %g (tf.saved_model.load)",
			name, len(report.Inputs), len(report.Outputs), r.Loader, r.TF2)
	}
}

// asTensorFlow is one side of a report as interop.py writes it.
func asTensorFlow(tensors []SignatureTensor) []tfTensor {
	var all []tfTensor
	for _, s := range tensors {
		all = append(all, tfTensor{s.Key, s.Tensor, s.DType.String(), s.Shape.Dims})
	}
	slices.SortFunc(all, func(x, y tfTensor) int { return strings.Compare(x.Key, y.Key) })
	return all
}
