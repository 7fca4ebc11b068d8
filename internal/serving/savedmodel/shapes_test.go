package savedmodel

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

// TestInferenceAgainstTensorFlow holds every tensor of a graph of many
// operations against what TensorFlow says of it: the same, or less.
func TestInferenceAgainstTensorFlow(t *testing.T) {
	var want map[string][2]json.RawMessage
	if err := json.Unmarshal(readFile(t, "testdata/ops.json"), &want); err != nil {
		t.Fatal(err)
	}
	g := openBytes(t, readFile(t, "testdata/ops.pb"))
	in := newInference(g)
	equal, unknownShapes, unknownTypes := 0, 0, 0
	for name, w := range want {
		node, port, ok := graphwire.SplitTensorName(name)
		if !ok {
			t.Fatalf("golden file names %q", name)
		}
		var dtype string
		var dims []int64
		if json.Unmarshal(w[0], &dtype) != nil || json.Unmarshal(w[1], &dims) != nil {
			t.Fatalf("%s: %s", name, w)
		}
		shape := Shape{Known: dims != nil, Dims: dims}
		index, ok := g.ByName[node]
		if !ok {
			t.Fatalf("no node %q", node)
		}
		got, err := in.of(graphwire.Edge{Node: index, Port: port})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		op := g.Nodes[index].Op
		switch {
		case got.DType == Invalid:
			unknownTypes++
		case got.DType.String() != dtype:
			t.Errorf("%s (%s): dtype %s, TensorFlow says %s", name, op, got.DType, dtype)
		}
		switch {
		case got.Shape.String() == shape.String():
			equal++
		case !got.Shape.Known:
			unknownShapes++
		case !shape.Known || len(dims) != len(got.Shape.Dims):
			t.Errorf("%s (%s): shape %s, TensorFlow says %s", name, op, got.Shape, shape)
		default:
			unknownShapes++
			for i, d := range got.Shape.Dims {
				if d != -1 && d != dims[i] {
					t.Errorf("%s (%s): shape %s, TensorFlow says %s", name, op, got.Shape, shape)
				}
			}
		}
	}
	t.Logf("%d tensors: %d shapes equal, %d less, %d dtypes unknown", len(want), equal, unknownShapes, unknownTypes)
	if len(want) < 700 || equal < 600 || unknownTypes > 0 {
		t.Errorf("inference knows less than it did: %d of %d shapes, %d dtypes unknown", equal, len(want), unknownTypes)
	}
}

// TestInvalidOutputs asks for outputs that operations do not have.
func TestInvalidOutputs(t *testing.T) {
	x := graphtest.Placeholder("x", Float32, 6)
	list := func(key string, types ...byte) graphtest.Attr {
		return graphtest.Attr{Key: key, Value: graphwire.AppendBytes(nil, graphwire.AttrList, graphwire.AppendBytes(nil, graphwire.ListType, types))}
	}
	tests := []struct {
		node []byte
		port int32
		want string
	}{
		{graphtest.Node("n", "Relu", []string{"x"}, graphtest.TypeAttr("T", Float32)), 1, `node "n" is a Relu, which has no output 1`},
		{graphtest.Node("n", "NoOp", nil), 0, `node "n" is a NoOp, which has no output tensor`},
		{graphtest.Node("n", "Split", []string{"x"}, graphtest.TypeAttr("T", Float32), graphtest.IntAttr("num_split", 3)), 3, `node "n" is a Split with 3 outputs, it has no output 3`},
		{graphtest.Node("n", "PartitionedCall", []string{"x"}, list("Tout", 1, 3)), 2, `node "n" is a PartitionedCall with 2 outputs, it has no output 2`},
	}
	for _, tt := range tests {
		g := openBytes(t, graphtest.Graph(x, tt.node))
		if _, err := newInference(g).of(graphwire.Edge{Node: 1, Port: tt.port}); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	g := openBytes(t, graphtest.Graph(x, tests[3].node))
	if got, err := newInference(g).of(graphwire.Edge{Node: 1, Port: 1}); err != nil || got.DType != Int32 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestLegacyPlaceholder has a scalar shape that old graphs wrote for an unknown
// one.
func TestLegacyPlaceholder(t *testing.T) {
	for producer, want := range map[uint64]string{0: "unknown", 21: "unknown", 22: "[]", 1000: "[]"} {
		g := openBytes(t, graphtest.Graph(graphtest.Placeholder("x", Float32), graphtest.Versions(producer)))
		if got, err := newInference(g).of(graphwire.Edge{}); err != nil || got.Shape.String() != want {
			t.Errorf("producer %d: %v, %v, want %s", producer, got.Shape, err, want)
		}
	}
}

// TestTensorInts reads small integer tensors in every encoding there is.
func TestTensorInts(t *testing.T) {
	packed := func(num int, values ...byte) []byte {
		return append([]byte{byte(num<<3 | 2), byte(len(values))}, values...)
	}
	tests := []struct {
		name  string
		dtype DataType
		shape Shape
		extra []byte
		want  []int64
	}{
		{"content int32", Int32, ShapeOf(2), packed(4, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), []int64{1, -1}},
		{"content int64", Int64, ShapeOf(1), packed(4, 5, 0, 0, 0, 0, 0, 0, 0), []int64{5}},
		{"packed list", Int32, ShapeOf(3), packed(7, 1, 2, 3), []int64{1, 2, 3}},
		{"unpacked list", Int32, ShapeOf(2), []byte{7 << 3, 4, 7 << 3, 5}, []int64{4, 5}},
		{"splat", Int32, ShapeOf(3), packed(7, 9), []int64{9, 9, 9}},
		{"no values are zeros", Int64, ShapeOf(2), nil, []int64{0, 0}},
		{"scalar", Int64, ShapeOf(), packed(10, 6), []int64{6}},
		{"float", Float32, ShapeOf(1), nil, nil},
		{"too many", Int32, ShapeOf(graphwire.MaxRank + 1), nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			attr := graphtest.TensorAttr("value", tt.dtype, graphtest.Dims(tt.shape.Dims...), nil)
			inner := attr.Value[2:] // without tag and one byte of length
			attr.Value = graphwire.AppendBytes(nil, graphwire.AttrTensor, slices.Concat(inner, tt.extra))
			g := openBytes(t, graphtest.Node("c", "Const", nil, attr))
			a, err := g.ReadAttrs(&g.Nodes[0])
			if err != nil {
				t.Fatal(err)
			}
			tensor, ok, err := a.Tensor("value")
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			got, ok, err := tensor.Ints()
			if err != nil || ok != (tt.want != nil) {
				t.Fatal(ok, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAmbiguousAttribute(t *testing.T) {
	two := graphtest.Attr{Key: "dtype", Value: append(graphtest.TypeAttr("", Float32).Value, graphtest.TypeAttr("", Int32).Value...)}
	data := graphtest.Node("x", "Placeholder", nil, two)
	_, err := Inspect(bytes.NewReader(data), int64(len(data)))
	if err == nil || err.Error() != `inspect model: offset 31: NodeDef "x": attribute "dtype" has more than one value` {
		t.Errorf("got %v", err)
	}
}

// TestDeepGraph follows a chain longer than inference goes, without harm.
func TestDeepGraph(t *testing.T) {
	parts := [][]byte{graphtest.Placeholder("n0", Float32, 3)}
	for i := range 3 * maxInferDepth {
		parts = append(parts, graphtest.Node(num(i+1), "Relu", []string{num(i)}, graphtest.TypeAttr("T", Float32)))
	}
	g := openBytes(t, graphtest.Graph(parts...))
	got, err := newInference(g).of(graphwire.Edge{Node: int32(len(parts) - 1)})
	if err != nil || got.DType != Float32 || got.Shape.Known {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err = newInference(g).of(graphwire.Edge{Node: maxInferDepth - 1}); err != nil || got.Shape.String() != "[3]" {
		t.Errorf("got %v, %v", got, err)
	}
}

func num(i int) string {
	const digits = "0123456789"
	s := ""
	for ; i > 0 || s == ""; i /= 10 {
		s = digits[i%10:i%10+1] + s
	}
	return "n" + s
}

func TestShapeText(t *testing.T) {
	for _, tt := range []struct {
		shape      Shape
		text, json string
	}{
		{Shape{}, "unknown", "null"},
		{ShapeOf(), "[]", "[]"},
		{ShapeOf(-1, 224, 3), "[-1,224,3]", "[-1,224,3]"},
	} {
		j, err := json.Marshal(tt.shape)
		if err != nil || tt.shape.String() != tt.text || string(j) != tt.json {
			t.Errorf("%#v: %s, %s, %v", tt.shape, tt.shape, j, err)
		}
	}
}

func TestElements(t *testing.T) {
	for _, tt := range []struct {
		shape Shape
		want  int64
		ok    bool
	}{
		{ShapeOf(), 1, true},
		{ShapeOf(2, 3, 4), 24, true},
		{ShapeOf(2, 0, 1<<62), 0, true},
		{ShapeOf(-1, 3), 0, false},
		{ShapeOf(1<<32, 1<<32), 0, false},
		{Shape{}, 0, false},
	} {
		if got, ok := tt.shape.Elements(); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %d, %v", tt.shape, got, ok)
		}
	}
}

// TestShapeEncoding writes random shapes and reads them back.
func TestShapeEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Shape{}
		if rapid.Bool().Draw(t, "known") {
			s = Shape{Known: true, Dims: rapid.SliceOfN(rapid.Int64Min(-1), 0, graphwire.MaxRank).Draw(t, "dims")}
		}
		encoded := graphwire.AppendBytes(nil, graphwire.AttrShape, graphwire.EncodeShape(s))
		data := graphtest.Node("x", "Placeholder", nil, graphtest.Attr{Key: "shape", Value: encoded})
		g, err := graphwire.OpenGraph(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		a, err := g.ReadAttrs(&g.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Shape("shape")
		if err != nil || got.String() != s.String() {
			t.Fatalf("%s became %s, %v", s, got, err)
		}
	})
}
