package graphwire

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func TestIndex(t *testing.T) {
	g := openBytes(t, graphtest.Graph(
		graphtest.Node("later", "Add", []string{"split:1", "x", "^init"}),
		graphtest.Node("split", "Split", []string{"x:0"}),
		graphtest.Placeholder("x", Float32),
		graphtest.Node("init", "NoOp", nil),
		graphtest.Versions(1205),
	))
	type flat struct {
		Name, Op string
		Inputs   []Edge
	}
	var got []flat
	for _, n := range g.Nodes {
		got = append(got, flat{n.Name, n.Op, n.Inputs})
	}
	want := []flat{
		{"later", "Add", []Edge{{1, 1}, {2, 0}, {3, ControlPort}}},
		{"split", "Split", []Edge{{2, 0}}},
		{"x", "Placeholder", nil},
		{"init", "NoOp", nil},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Edge{})); diff != "" {
		t.Error(diff)
	}
	if g.Producer != 1205 || !g.versions {
		t.Errorf("producer %d, versions %v", g.Producer, g.versions)
	}
	if err := g.Problems.Err(); err != nil {
		t.Error(err)
	}
}

func TestStructuralProblems(t *testing.T) {
	x := graphtest.Placeholder("x", Float32)
	tests := []struct {
		name  string
		graph []byte
		want  string // empty: none
	}{
		{"duplicate name", graphtest.Graph(x, x), `node "x": two nodes have this name; export the graph again: names must be unique`},
		{"dangling input", graphtest.Graph(graphtest.Node("y", "Relu", []string{"x"})), `node "y": input "x" is not in the graph; export the graph again: it was cut`},
		{"dangling control input", graphtest.Graph(graphtest.Node("y", "NoOp", []string{"^x"})), `input "x" is not in the graph`},
		{"data after control", graphtest.Graph(x, graphtest.Node("y", "Relu", []string{"^x", "x"})), `node "y": data input "x" comes after a control input`},
		{"bad name", graphtest.Graph(graphtest.Node("a b", "NoOp", nil)), `node "a b": TensorFlow does not accept the node's name`},
		{"own input", graphtest.Graph(graphtest.Node("y", "Relu", []string{"y"})), `node "y": the node waits for its own output; export the graph again: it has a cycle`},
		{"cycle of three", graphtest.Graph(x, graphtest.Node("a", "Add", []string{"x", "c"}), graphtest.Node("b", "Relu", []string{"a"}), graphtest.Node("c", "Relu", []string{"b"})), `it has a cycle`},
		{"control cycle", graphtest.Graph(graphtest.Node("a", "NoOp", []string{"^b"}), graphtest.Node("b", "NoOp", []string{"^a"})), `it has a cycle`},
		{"loop", graphtest.Graph(x, graphtest.Node("enter", "Enter", []string{"x"}), graphtest.Node("merge", "Merge", []string{"enter", "next"}), graphtest.Node("next", "NextIteration", []string{"merge"})), ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := openBytes(t, tt.graph).Problems.Err()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var ns *NotServableError
			if !errors.As(err, &ns) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %v", err, tt.want)
			}
		})
	}
}

func TestProblemsAreCounted(t *testing.T) {
	var parts [][]byte
	for i := range 30 {
		parts = append(parts, graphtest.Node(fmt.Sprintf("n%d", i), "Relu", []string{"gone"}))
	}
	err := openBytes(t, graphtest.Graph(parts...)).Problems.Err()
	if err == nil || !strings.HasSuffix(err.Error(), "; and 10 more") || strings.Count(err.Error(), "is not in the graph") != MaxProblems {
		t.Errorf("got %v", err)
	}
}

func TestLibrary(t *testing.T) {
	function := func(name string, ops ...string) []byte {
		b := AppendBytes(nil, functionSignature, AppendString(nil, opDefName, name))
		for _, op := range ops {
			b = AppendBytes(b, functionNode, AppendString(AppendString(nil, NodeName, "n"), NodeOp, op))
		}
		return AppendBytes(nil, libraryFunction, b)
	}
	library := AppendBytes(nil, graphLibrary, append(function("one", "Relu", "Relu"), function("two", "VarHandleOp")...))
	g := openBytes(t, graphtest.Graph(graphtest.Tiny(), library))
	want := []indexed{{"one", map[string]int{"Relu": 2}}, {"two", map[string]int{"VarHandleOp": 1}}}
	var got []indexed
	for _, f := range g.Functions {
		got = append(got, indexed(f))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// indexed is function with exported fields, for cmp.
type indexed struct {
	Name string
	Ops  map[string]int
}

func TestSplitTensorName(t *testing.T) {
	tests := []struct {
		in   string
		name string
		port int32
		ok   bool
	}{
		{"a", "a", 0, true},
		{"a:0", "a", 0, true},
		{"scope/a:12", "scope/a", 12, true},
		{"^a", "a", ControlPort, true},
		{"", "", 0, false},
		{"^", "", ControlPort, false},
		{":1", "", 0, false},
		{"a:-1", "", 0, false},
		{"a:+1", "", 0, false},
		{"a:", "", 0, false},
		{"a:2147483647", "", 0, false},
		{"a:99999999999", "", 0, false},
	}
	for _, tt := range tests {
		name, port, ok := SplitTensorName(tt.in)
		if ok != tt.ok || ok && (name != tt.name || port != tt.port) {
			t.Errorf("splitTensorName(%q) = %q, %d, %v", tt.in, name, port, ok)
		}
	}
}

// TestLimits makes graphs at the limits of the index; TestTenMillionNodes goes
// beyond.
func TestLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("makes graphs of a million nodes")
	}
	e := newEndless(maxNodes)
	if g, err := OpenGraph(e, e.size()); err != nil || len(g.Nodes) != maxNodes {
		t.Errorf("%v", err)
	}
	var b bytes.Buffer
	inputs := slices.Repeat([]string{"a"}, 1<<20)
	for i := range 9 {
		b.Write(graphtest.Node(fmt.Sprintf("n%d", i), "AddN", inputs))
	}
	if _, err := OpenGraph(bytes.NewReader(b.Bytes()), int64(b.Len())); err == nil || !strings.Contains(err.Error(), "more than 8388608 inputs of nodes") {
		t.Errorf("got %v", err)
	}
}

// TestMemoryIsIndependentOfWeights reads a graph with 64 MB of weights that
// exist only as zeros made on demand.
func TestMemoryIsIndependentOfWeights(t *testing.T) {
	const weight = 16 << 20
	var parts []graphtest.Segment
	var size int64
	add := func(s graphtest.Segment) { s.At = size; parts = append(parts, s); size += s.Length() }
	for i := range 4 {
		full := graphtest.Const(fmt.Sprintf("w%d", i), Float32, graphtest.Dims(weight/4), make([]byte, weight))
		add(graphtest.Segment{Data: full[:len(full)-weight]})
		add(graphtest.Segment{Zeros: weight})
	}
	add(graphtest.Segment{Data: graphtest.Tiny()})
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g, err := OpenGraph(graphtest.Segments(parts), size)
	runtime.ReadMemStats(&after)
	if err != nil || len(g.Nodes) != 6 {
		t.Fatalf("%v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("indexing allocated %d bytes", used)
	}
}
