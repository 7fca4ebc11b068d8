package savedmodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func inspectFile(t *testing.T, name string) *GraphInfo {
	t.Helper()
	data := readFile(t, name)
	info, err := Inspect(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestInspectDigits(t *testing.T) {
	info := inspectFile(t, digits)
	wantOps := []OpCount{
		{"Const", 24, 0}, {"Identity", 23, 0}, {"FusedBatchNormV3", 4, 0}, {"Conv2D", 3, 0}, {"Relu", 4, 0},
		{"BiasAdd", 2, 0}, {"DepthwiseConv2dNative", 1, 0}, {"MatMul", 1, 0}, {"Mean", 1, 0}, {"Placeholder", 1, 0}, {"Softmax", 1, 0},
	}
	counts := map[string]int{}
	var bytes, last int64
	for i, o := range info.Operations {
		counts[o.Op] = o.Count
		bytes += o.Bytes
		if i > 0 && o.Bytes > last {
			t.Errorf("%s is not in order of size", o.Op)
		}
		last = o.Bytes
	}
	for _, w := range wantOps {
		if counts[w.Op] != w.Count {
			t.Errorf("%d %s, want %d", counts[w.Op], w.Op, w.Count)
		}
	}
	if len(counts) != len(wantOps) || bytes > info.Size || bytes < info.Size-65*4-20 {
		t.Errorf("%d operations of %d bytes in a file of %d", len(counts), bytes, info.Size)
	}
	info.Operations = nil
	want := &GraphInfo{
		Kind: FrozenGraph, Size: 37247, Nodes: 65, Producer: 2474, Functions: []string{}, Variables: []string{}, BatchNorms: 4,
		Inputs:   []SignatureTensor{{"input", "input:0", Float32, ShapeOf(-1, 8, 8, 1)}},
		Outputs:  []SignatureTensor{{"predict", "predict:0", Float32, ShapeOf(-1, 10)}},
		Servable: true, Problems: []Problem{}, Warnings: []string{},
	}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Error(diff)
	}
}

func TestInspectSavedModels(t *testing.T) {
	dir := testshared.Dir(t, "models")
	half := inspectFile(t, filepath.Join(dir, "matrix_half_plus_two.saved_model.pb"))
	tensor := func(key string) []SignatureTensor {
		return []SignatureTensor{{key, key + ":0", Float32, ShapeOf(-1, 3, 3)}}
	}
	want := []MetaGraph{{
		Tags: []string{"serve"}, TensorFlow: "1.2.0-rc2",
		Signatures: []Signature{{Key: "serving_default", Method: "tensorflow/serving/predict", Inputs: tensor("x"), Outputs: tensor("y")}}, Assets: []string{},
	}}
	if diff := cmp.Diff(want, half.MetaGraphs); diff != "" {
		t.Error(diff)
	}
	if !half.Servable || half.Producer != 24 || half.Nodes != 6 {
		t.Errorf("%+v", half)
	}
	regression := inspectFile(t, filepath.Join(dir, "regression.saved_model.pb"))
	if !regression.Servable || regression.Nodes != 148 || !cmp.Equal(regression.Variables, []string{"W", "b"}) {
		t.Errorf("%+v", regression)
	}
	if w := strings.Join(regression.Warnings, "; "); !strings.Contains(w, "2 variables: their values are in the variables directory") {
		t.Errorf("warnings %q", w)
	}
	if got := regression.Inputs; len(got) != 1 || got[0].Tensor != "X:0" || got[0].Shape.Known {
		t.Errorf("inputs %+v: want those of the signature", got)
	}
}

func TestServable(t *testing.T) {
	x := graphtest.Placeholder("x", Float32, -1)
	relu := func(name string, inputs ...string) []byte {
		return graphtest.Node(name, "Relu", inputs, graphtest.TypeAttr("T", Float32))
	}
	tests := []struct {
		name            string
		graph           []byte
		inputs, outputs string
		want            string // of the error, or "warning: ..." , or nothing
	}{
		{"fine", graphtest.Graph(x, relu("y", "x")), "x", "y", ""},
		{"output is the input", x, "x", "x", ""},
		{"forgotten placeholder", graphtest.Graph(x, graphtest.Placeholder("keep_prob", Float32), graphtest.Node("y", "Mul", []string{"x", "keep_prob"}, graphtest.TypeAttr("T", Float32))), "x", "y",
			`node "keep_prob": an output depends on this placeholder, which no request could fill; name it among the inputs, or freeze the graph without it`},
		{"placeholder with default", graphtest.Graph(x, graphtest.Node("k", "PlaceholderWithDefault", nil), graphtest.Node("y", "Mul", []string{"x", "k"}, graphtest.TypeAttr("T", Float32))), "x", "y", ""},
		{"placeholder behind an input", graphtest.Graph(x, relu("h", "x"), relu("y", "h")), "h", "y", ""},
		{"other port of a fed node", graphtest.Graph(x, graphtest.Node("s", "Unpack", []string{"x"}, graphtest.TypeAttr("T", Float32), graphtest.IntAttr("num", 2)), relu("y", "s", "s:1")), "s", "y",
			`node "x": an output depends on this placeholder`},
		{"control edge from a fed placeholder", graphtest.Graph(x, relu("y", "x", "^x")), "x", "y", ""},
		{"control edge from another placeholder", graphtest.Graph(x, graphtest.Placeholder("z", Float32), relu("y", "x", "^z")), "x", "y", `node "z": an output depends on this placeholder`},
		{"unused input", graphtest.Graph(x, graphtest.Placeholder("z", Int32), relu("y", "x")), "x,z", "y", `warning: no output depends on input "z" (z:0)`},
		{"variable", graphtest.Graph(x, graphtest.Node("w", "VariableV2", nil), graphtest.Node("y", "Mul", []string{"x", "w"}, graphtest.TypeAttr("T", Float32))), "x", "y",
			`node "w": it is a variable (VariableV2), so the graph is not frozen: its values are in a checkpoint; freeze the graph with tf.compat.v1.graph_util.convert_variables_to_constants`},
		{"unreached variable", graphtest.Graph(x, graphtest.Node("w", "VariableV2", nil), relu("y", "x")), "x", "y", ""},
		{"resource variable", graphtest.Graph(x, graphtest.Node("w", "VarHandleOp", nil), graphtest.Node("r", "ReadVariableOp", []string{"w"}), graphtest.Node("y", "Mul", []string{"x", "r"}, graphtest.TypeAttr("T", Float32))), "x", "y",
			`node "w": it is a variable (VarHandleOp)`},
		{"table", graphtest.Graph(x, graphtest.Node("t", "HashTableV2", nil), relu("y", "x", "t")), "x", "y", `node "t": it is a lookup table (HashTableV2)`},
		{"iterator", graphtest.Graph(graphtest.Node("it", "IteratorV2", nil), relu("y", "it"), x), "x", "y", `node "it": it draws from a data pipeline (IteratorV2)`},
		{"queue", graphtest.Graph(graphtest.Node("q", "FIFOQueueV2", nil), relu("y", "q"), x), "x", "y", `node "q": it draws from a queue (FIFOQueueV2)`},
		{"python", graphtest.Graph(x, graphtest.Node("p", "PyFunc", []string{"x"}), relu("y", "p")), "x", "y", `node "p": it calls back into a Python program (PyFunc)`},
		{"damage anywhere", graphtest.Graph(x, relu("y", "x"), relu("z", "gone")), "x", "y", `node "z": input "gone" is not in the graph`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inputs, err := ParseTensorSpecs(tt.inputs)
			if err != nil {
				t.Fatal(err)
			}
			outputs, err := ParseTensorSpecs(tt.outputs)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Prepare(bytes.NewReader(tt.graph), int64(len(tt.graph)), Options{Inputs: inputs, Outputs: outputs})
			got := ""
			if err != nil {
				var ns *NotServableError
				if !errors.As(err, &ns) || len(ns.Problems) != 1 {
					t.Errorf("%v is not a NotServableError of one problem", err)
				}
				got = err.Error()
			} else if w := c.Report().Warnings; len(w) > 0 {
				got = "warning: " + strings.Join(w, "; ")
			}
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestInspectSaysWhyNot describes graphs that cannot be served instead of
// refusing them.
func TestInspectSaysWhyNot(t *testing.T) {
	variable := graphtest.Graph(graphtest.Placeholder("x", Float32), graphtest.Node("w", "VarHandleOp", nil), graphtest.Node("y", "Mul", []string{"x", "w"}, graphtest.TypeAttr("T", Float32)))
	consumed := graphtest.Graph(graphtest.Placeholder("x", Float32))
	untagged := graphtest.Graph([]byte{0x08, 1}, graphwire.AppendBytes(nil, savedModelGraphs, graphtest.Graph(
		graphwire.AppendBytes(nil, metaInfo, graphwire.AppendString(nil, metaInfoTags, "train")), graphwire.AppendBytes(nil, metaGraph, graphtest.Tiny()))))
	unsigned := graphtest.Graph([]byte{0x08, 1}, graphwire.AppendBytes(nil, savedModelGraphs, graphtest.Graph(
		graphwire.AppendBytes(nil, metaInfo, graphwire.AppendString(nil, metaInfoTags, "serve")), graphwire.AppendBytes(nil, metaGraph, graphtest.Tiny()))))
	var damaged [][]byte
	for i := range graphwire.MaxProblems + 5 {
		damaged = append(damaged, graphtest.Node(num(i), "Relu", []string{"gone"}))
	}
	tests := []struct {
		name, problem, warning string
		data                   []byte
		servable               bool
	}{
		{"variable", `node "w": it is a variable`, "", variable, false},
		{"no output", "every node is consumed by another, so no output stands out; name the outputs", "", consumed, false},
		{"other tag", `no graph is tagged exactly "serve"; start TensorFlow Serving with --saved_model_tags`, "", untagged, false},
		{"no signature", "", "no signature is called serving_default", unsigned, true},
		{"much damage", "and 5 problems more; solve those above first", "", graphtest.Graph(damaged...), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := Inspect(bytes.NewReader(tt.data), int64(len(tt.data)))
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			for _, p := range info.Problems {
				problems = append(problems, p.String())
			}
			if info.Servable != tt.servable || !strings.Contains(strings.Join(problems, "\n"), tt.problem) ||
				!strings.Contains(strings.Join(info.Warnings, "\n"), tt.warning) {
				t.Errorf("servable %v\nproblems %q\nwarnings %q", info.Servable, problems, info.Warnings)
			}
		})
	}
}

func TestInspectErrors(t *testing.T) {
	for data, want := range map[string]string{
		"":                         "inspect model: the file is empty",
		"node { }":                 "inspect model: this is a graph in text form: write it in binary form, with as_text=False where tf.io.write_graph made it",
		"\x0a\x05a":                "inspect model: neither a frozen graph nor a SavedModel: offset 0: file: field 1 claims 5 bytes, 1 remain: the file is truncated or damaged",
		"\x08\x01":                 "inspect model: the SavedModel has no graph",
		"\x08\x01\x12\x02\x12\x05": "inspect model: offset 4: MetaGraphDef: field 2 claims 5 bytes, 0 remain: the file is truncated or damaged",
	} {
		if _, err := Inspect(strings.NewReader(data), int64(len(data))); err == nil || err.Error() != want {
			t.Errorf("%q: got %v\nwant %s", data, err, want)
		}
	}
}

// TestInspectJSON keeps the names that scripts rely on.
func TestInspectJSON(t *testing.T) {
	data := graphtest.Tiny()
	info, err := Inspect(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"frozen graph","size":105,"nodes":2,"producer":27,"min_consumer":0,` +
		`"operations":[{"op":"Placeholder","count":1,"bytes":63},{"op":"Softmax","count":1,"bytes":34}],` +
		`"functions":[],"variables":[],"batch_norms":0,` +
		`"inputs":[{"key":"input","tensor":"input:0","dtype":"float32","shape":[-1,4]}],` +
		`"outputs":[{"key":"predict","tensor":"predict:0","dtype":"float32","shape":[-1,4]}],` +
		`"servable":true,"problems":[],"warnings":[]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFunctionWarnings(t *testing.T) {
	function := func(name, op string) []byte {
		signature := graphtest.Bytes(1, graphtest.Bytes(1, []byte(name)))
		return graphtest.Bytes(1, append(signature, graphtest.Bytes(3, graphtest.Bytes(2, []byte(op)))...))
	}
	g := openBytes(t, graphtest.Graph(graphtest.Tiny(), graphtest.Bytes(2, append(function("one", "Relu"), function("two", "VarHandleOp")...))))
	if w := functionWarnings(g); len(w) != 1 || !strings.Contains(w[0], `function "two" of the graph's library has a variable (VarHandleOp)`) {
		t.Errorf("warnings %q", w)
	}
}
