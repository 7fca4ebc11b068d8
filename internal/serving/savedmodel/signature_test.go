package savedmodel

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func TestParseTensorSpec(t *testing.T) {
	tests := []struct {
		in   string
		want TensorSpec
	}{
		{"predict", TensorSpec{Node: "predict"}},
		{"scope/predict:0", TensorSpec{Node: "scope/predict"}},
		{"detect:1", TensorSpec{Node: "detect", Port: 1}},
		{"scores=detect:1", TensorSpec{Key: "scores", Node: "detect", Port: 1}},
		{"x@float32", TensorSpec{Node: "x", DType: Float32}},
		{"x@string[]", TensorSpec{Node: "x", DType: String, Shape: ShapeOf()}},
		{"image=decode:2@uint8[-1, 224,224,3]", TensorSpec{Key: "image", Node: "decode", Port: 2, DType: UInt8, Shape: ShapeOf(-1, 224, 224, 3)}},
	}
	for _, tt := range tests {
		got, err := ParseTensorSpec(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
	}
	const form = "; want [key=]node[:port][@dtype[shape]], such as scores=detect:1@float32[-1,10]"
	for in, want := range map[string]string{
		"":                `parse tensor "": the node's name is empty` + form,
		"=x":              `parse tensor "=x": the key is empty` + form,
		"a=":              `parse tensor "a=": the node's name is empty` + form,
		"^x":              `parse tensor "^x": a control edge carries no tensor` + form,
		"x:y":             `parse tensor "x:y": "x:y" does not end in a port number` + form,
		"x:-1":            `"x:-1" does not end in a port number`,
		"x y":             `"x y" is not a node's name`,
		"x@float":         `parse dtype "float": TensorFlow has bfloat16, bool,`,
		"x@":              `parse dtype ""`,
		"x@float32[1":     `the shape does not end in ]`,
		"x@float32[1,,2]": `"" is not a dimension: a size, or -1 where it varies`,
		"x@float32[-2]":   `"-2" is not a dimension`,
		"x@float32[?]":    `"?" is not a dimension`,
	} {
		if got, err := ParseTensorSpec(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v\nwant %s", in, got, err, want)
		}
	}
}

func TestParseTensorSpecs(t *testing.T) {
	got, err := ParseTensorSpecs("a, b:1,c=d@float32[-1,2],e")
	want := []TensorSpec{{Node: "a"}, {Node: "b", Port: 1}, {Key: "c", Node: "d", DType: Float32, Shape: ShapeOf(-1, 2)}, {Node: "e"}}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, in := range []string{"", ",", "a,", "a,,b", "a[1,2"} {
		if got, err := ParseTensorSpecs(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// TestTensorSpecText writes random specs and reads them back.
func TestTensorSpecText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := TensorSpec{
			Key:  rapid.StringMatching(`[a-z_]{0,5}`).Draw(t, "key"),
			Node: rapid.StringMatching(`[A-Za-z0-9.][A-Za-z0-9_./>-]{0,10}`).Draw(t, "node"),
			Port: rapid.Int32Range(0, 1<<30).Draw(t, "port"),
		}
		if rapid.Bool().Draw(t, "typed") {
			spec.DType = rapid.SampledFrom([]DataType{Float32, String, Int64, 25, 30}).Draw(t, "dtype")
			if rapid.Bool().Draw(t, "shaped") {
				spec.Shape = ShapeOf(rapid.SliceOfN(rapid.Int64Min(-1), 1, 5).Draw(t, "dims")...)
			}
		}
		got, err := ParseTensorSpec(spec.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(spec, got); diff != "" {
			t.Fatalf("%s: %s", spec, diff)
		}
	})
}

func TestDataTypeNames(t *testing.T) {
	for d, name := range graphwire.DataTypeNames {
		if got, err := ParseDataType(name); err != nil || got != d || d.String() != name {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	for d, want := range map[DataType]string{Invalid: "unknown", 101: "float32_ref", 77: "dtype(77)", -1: "dtype(-1)"} {
		if d.String() != want {
			t.Errorf("%d is %q, want %q", int32(d), d, want)
		}
	}
}

func TestResolve(t *testing.T) {
	g := openBytes(t, graphtest.Graph(
		graphtest.Placeholder("x", Float32, -1, 4),
		graphtest.Placeholder("size", Int32, 2),
		graphtest.Node("split", "Split", []string{"size", "x"}, graphtest.TypeAttr("T", Float32), graphtest.IntAttr("num_split", 2)),
		graphtest.Node("custom", "MyCustomOp", []string{"split"}),
		graphtest.Node("sum", "Relu", []string{"split:1"}, graphtest.TypeAttr("T", Float32)),
		graphtest.Node("table", "VarHandleOp", nil),
		graphtest.Node("done", "NoOp", []string{"^sum"}),
		graphtest.Versions(100),
	))
	tests := []struct {
		name  string
		role  Role
		specs string
		want  string // tensors, or the error
	}{
		{"one input", Input, "x", "input=x:0 float32 [-1,4]"},
		{"one output", Output, "sum", "predict=sum:0 float32 unknown"},
		{"several", Output, "sum,split:1", "sum=sum:0 float32 unknown, split=split:1 float32 unknown"},
		{"own keys", Input, "image=x,dims=size", "image=x:0 float32 [-1,4], dims=size:0 int32 [2]"},
		{"narrowed shape", Input, "x@float32[8,4]", "input=x:0 float32 [8,4]"},
		{"stated dtype", Output, "custom@int64[-1]", "predict=custom:0 int64 [-1]"},
		{"one tensor under two output keys", Output, "a=sum,b=sum", "a=sum:0 float32 unknown, b=sum:0 float32 unknown"},
		{"missing input", Input, "input", `input "input": the graph has no node "input"; its placeholders are x, size`},
		{"missing output", Output, "predict", `output "predict": the graph has no node "predict"; nodes that nobody consumes are custom, sum`},
		{"wrong dtype", Input, "x@float64", `input "x@float64": the graph says that it is float32`},
		{"wrong shape", Input, "x@float32[-1,5]", `input "x@float32[-1,5]": the graph says that its shape is [-1,4]`},
		{"wrong rank", Input, "x@float32[-1]", `the graph says that its shape is [-1,4]`},
		{"unknown dtype", Output, "custom", `output "custom": its dtype does not follow from the graph, because the operation MyCustomOp is not known here: state it, as in custom@float32`},
		{"no such port", Output, "split:2", `output "split:2": node "split" is a Split with 2 outputs, it has no output 2`},
		{"no output", Output, "done", `node "done" is a NoOp, which has no output tensor`},
		{"resource", Output, "table", `output "table": it is a resource, which no client can send or receive`},
		{"fed twice", Input, "a=x,b=x", `input "b=x": it is named twice, but a tensor can be fed once`},
		{"same key", Output, "split,split:1", `output "split:1": its key "split" is also that of split:0: give it another, as in other=split:1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			specs, err := ParseTensorSpecs(tt.specs)
			if err != nil {
				t.Fatal(err)
			}
			tensors, err := resolve(newInference(g), tt.role, specs)
			var te *TensorError
			if err != nil && !errors.As(err, &te) {
				t.Errorf("%T is not a TensorError", err)
			}
			var parts []string
			for _, x := range tensors {
				parts = append(parts, x.Key+"="+x.Tensor+" "+x.DType.String()+" "+x.Shape.String())
			}
			got := strings.Join(parts, ", ")
			if err != nil {
				got = err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestSuggestionsAreShort(t *testing.T) {
	var parts [][]byte
	for i := range 12 {
		parts = append(parts, graphtest.Placeholder(num(i), Float32))
	}
	g := openBytes(t, graphtest.Graph(parts...))
	_, err := resolve(newInference(g), Input, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "its placeholders are n0, n1, n2, n3, n4, n5, n6, n7, and 4 more") {
		t.Errorf("got %v", err)
	}
	_, err = resolve(newInference(g), Output, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "it has no node that nobody consumes") {
		t.Errorf("got %v", err)
	}
}

func TestWithKeys(t *testing.T) {
	specs := func(s string) []TensorSpec {
		if s == "" {
			return nil
		}
		parsed, err := ParseTensorSpecs(s)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	tests := []struct {
		role     Role
		in, want string
	}{
		{Input, "", "input=input"},
		{Output, "", "predict=predict"},
		{Input, "x:1", "input=x:1"},
		{Output, "x@float32[2]", "predict=x@float32[2]"},
		{Output, "a=x,y,z:2", "a=x,y=y,z=z:2"},
	}
	for _, tt := range tests {
		in := specs(tt.in)
		got := WithKeys(tt.role, in)
		if !slices.EqualFunc(got, specs(tt.want), TensorSpec.Equal) {
			t.Errorf("%q became %v, want %s", tt.in, got, tt.want)
		}
		if !slices.EqualFunc(in, specs(tt.in), TensorSpec.Equal) {
			t.Errorf("%q was changed to %v", tt.in, in)
		}
	}
	for _, other := range []string{"b=x:1@float32[2]", "a=y:1@float32[2]", "a=x:2@float32[2]", "a=x:1@int32[2]", "a=x:1@float32[3]", "a=x:1@float32"} {
		if specs("a=x:1@float32[2]")[0].Equal(specs(other)[0]) {
			t.Errorf("equal to %s", other)
		}
	}
}
