package savedmodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// interopCase is what testdata/interop.py compares.
type interopCase struct {
	Graph     string           `json:"graph"`
	Model     string           `json:"model"`
	Feeds     map[string][]int `json:"feeds"`   // shapes
	Outputs   []string         `json:"outputs"` // node:port
	Optimized bool             `json:"optimized"`

	folds  int // normalisations that must be folded
	report *Report
}

type interopResult struct {
	Loader    float64 `json:"loader"`
	TF2       float64 `json:"tf2"`
	Largest   float64 `json:"largest"`
	Folded    int     `json:"folded"`
	SameBits  int     `json:"same_bits"`
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

// python is the interpreter that has TensorFlow; scripts/interop.sh makes one.
func python(t *testing.T) string {
	t.Helper()
	name := os.Getenv("CC_TENSORFLOW_PYTHON")
	if name == "" {
		t.Skip("CC_TENSORFLOW_PYTHON does not name a Python that has tensorflow-cpu, which is too large to ask for in every run")
	}
	return name
}

func runPython(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &stderr)
	}
	return out
}

// interopModel is a graph and how it is called.
type interopModel struct {
	Graph   string           `json:"graph"`
	Inputs  string           `json:"inputs"`
	Outputs string           `json:"outputs"`
	Feeds   map[string][]int `json:"feeds"`
	Folds   int              `json:"folds"` // normalisations that must be folded
}

// interopModels are the quickstart's graph, all real ones beside the repository,
// and freshly made ones with normalisations of every form.
func interopModels(t *testing.T) []interopModel {
	t.Helper()
	models := testshared.Dir(t, "models")
	shared := func(name string) string { return filepath.Join(models, name) }
	image := map[string][]int{"X:0": {3, 784}}
	recurrent := map[string][]int{"X:0": {3, 784}, "keep_prob:0": {}}
	list := []interopModel{
		{digits, "input", "predict", map[string][]int{"input:0": {5, 8, 8, 1}}, 4},
		{digits, "image=input", "predict,features=pool,logits/BiasAdd:0@float32[-1,10]", map[string][]int{"input:0": {5, 8, 8, 1}}, 4},
		{digits, "pool", "predict", map[string][]int{"pool:0": {2, 48}}, 0},
		{shared("plus3.pb"), "input", "output", map[string][]int{"input:0": {4}}, 0},
		{shared("regression.pb"), "X", "pred", map[string][]int{"X:0": {5}}, 0},
		{shared("fc-layers.pb"), "X", "output", image, 0},
		{shared("ae0.pb"), "X", "output", image, 0},
		{shared("gru.pb"), "X,keep_prob", "output", recurrent, 0},
		{shared("lstm.pb"), "X,keep_prob", "output", recurrent, 0},
		{shared("hey_snips_3.pb"), "inputs", "logits", map[string][]int{"inputs:0": {200, 40}}, 0},
	}
	var made []interopModel
	if err := json.Unmarshal(runPython(t, nil, "testdata/make_models.py", t.TempDir()), &made); err != nil || len(made) == 0 {
		t.Fatalf("%d models made, %v", len(made), err)
	}
	return append(list, made...)
}

// interopTolerance is the largest difference that folding may make, relative to
// the largest output.
const interopTolerance = 5e-5

// TestInterop asks TensorFlow itself: every model loads, says the signature that
// the report says, and answers bit for bit as the frozen graph does; an optimised
// one within the tolerance, with the very weights that TensorFlow folds.
func TestInterop(t *testing.T) {
	python(t)
	var cases []interopCase
	for _, m := range interopModels(t) {
		for _, optimize := range []bool{false, true} {
			inputs, err := ParseTensorSpecs(m.Inputs)
			if err != nil {
				t.Fatal(err)
			}
			outputs, err := ParseTensorSpecs(m.Outputs)
			if err != nil {
				t.Fatal(err)
			}
			data := readFile(t, m.Graph)
			var out bytes.Buffer
			report, err := Convert(&out, bytes.NewReader(data), int64(len(data)), Options{Inputs: inputs, Outputs: outputs, Optimize: optimize})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, FileName), out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			c := interopCase{Graph: m.Graph, Model: dir, Feeds: m.Feeds, Optimized: optimize, folds: m.Folds, report: report}
			for _, o := range report.Outputs {
				c.Outputs = append(c.Outputs, o.Tensor)
			}
			cases = append(cases, c)
		}
	}
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(runPython(t, input, "testdata/interop.py"))), "\n")
	if len(lines) != len(cases) {
		t.Fatalf("%d answers for %d models:\n%s", len(lines), len(cases), strings.Join(lines, "\n"))
	}
	t.Logf("| model | nodes | spliced | folded | bytes | largest difference / output | bits as TensorFlow folds |")
	for i, line := range lines {
		cases[i].check(t, line)
	}
}

// check judges one answer and logs a line of the table.
func (c interopCase) check(t *testing.T, line string) {
	t.Helper()
	name := strings.TrimSuffix(filepath.Base(c.Graph), ".pb")
	var r interopResult
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	difference := max(r.Loader, r.TF2)
	if c.Optimized {
		difference /= max(r.Largest, 1e-30)
	}
	if r.Error != "" || r.Signature.Method != PredictMethod || difference != 0 && !(c.Optimized && difference <= interopTolerance) {
		t.Errorf("%s: optimised %v: %+v", name, c.Optimized, r)
		return
	}
	if diff := cmp.Diff(asTensorFlow(c.report.Inputs), r.Signature.Inputs) + cmp.Diff(asTensorFlow(c.report.Outputs), r.Signature.Outputs); diff != "" {
		t.Errorf("%s: the signature differs: %s", name, diff)
	}
	if !c.Optimized {
		t.Logf("| %s, plain | %d | | | %d | %g | |", name, c.report.Nodes, c.report.Size, difference)
		return
	}
	o := c.report.Optimization
	if got := o.Passes[2].Changed; got != c.folds || r.SameBits != r.Folded {
		t.Errorf("%s: %d normalisations folded, want %d; %d of %d constants are as TensorFlow folds them", name, got, c.folds, r.SameBits, r.Folded)
	}
	t.Logf("| %s, optimised | %d of %d | %d | %d | %d of %d | %.2g | %d of %d |", name, o.NodesAfter, o.NodesBefore, o.Passes[1].Changed,
		o.Passes[2].Changed, o.BytesAfter, o.BytesBefore, difference, r.SameBits, r.Folded)
}

// TestInteropSpeed measures TensorFlow's own conversion beside this one.
func TestInteropSpeed(t *testing.T) {
	python(t)
	var made []interopModel
	dir := t.TempDir()
	if err := json.Unmarshal(runPython(t, nil, "testdata/make_models.py", dir), &made); err != nil || len(made) == 0 {
		t.Fatal(err)
	}
	m := made[0]
	start := time.Now()
	var theirs struct {
		Import  float64 `json:"import_seconds"`
		Seconds float64 `json:"seconds"`
		Peak    int64   `json:"peak_kib"`
	}
	if err := json.Unmarshal(runPython(t, nil, "testdata/tensorflow_convert.py", m.Graph, filepath.Join(dir, "theirs"), m.Inputs, m.Outputs), &theirs); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	f, err := os.Open(m.Graph)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, %d bytes", filepath.Base(m.Graph), info.Size())
	t.Logf("TensorFlow: %.2fs, of which %.2fs to import it and %.2fs to convert; %d MiB", whole.Seconds(), theirs.Import, theirs.Seconds, theirs.Peak>>10)
	for _, optimize := range []bool{false, true} {
		out, err := os.Create(filepath.Join(dir, fmt.Sprint("ours", optimize)))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		opts := Options{Inputs: []TensorSpec{{Node: m.Inputs}}, Outputs: []TensorSpec{{Node: m.Outputs}}, Optimize: optimize}
		if _, err := Convert(out, f, info.Size(), opts); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("here, optimised %v: %.2fs", optimize, time.Since(start).Seconds())
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
