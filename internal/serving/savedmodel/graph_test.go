package savedmodel

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIndex(t *testing.T) {
	g := openBytes(t, graphDef(
		nodeDef("later", "Add", []string{"split:1", "x", "^init"}),
		nodeDef("split", "Split", []string{"x:0"}),
		placeholder("x", Float32),
		nodeDef("init", "NoOp", nil),
		versionsDef(1205),
	))
	type flat struct {
		Name, Op string
		Inputs   []edge
	}
	var got []flat
	for _, n := range g.nodes {
		got = append(got, flat{n.name, n.op, n.inputs})
	}
	want := []flat{
		{"later", "Add", []edge{{1, 1}, {2, 0}, {3, controlPort}}},
		{"split", "Split", []edge{{2, 0}}},
		{"x", "Placeholder", nil},
		{"init", "NoOp", nil},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(edge{})); diff != "" {
		t.Error(diff)
	}
	if g.producer != 1205 || !g.versions {
		t.Errorf("producer %d, versions %v", g.producer, g.versions)
	}
	if err := g.problems.err(); err != nil {
		t.Error(err)
	}
}

func TestStructuralProblems(t *testing.T) {
	x := placeholder("x", Float32)
	tests := []struct {
		name  string
		graph []byte
		want  string // empty: none
	}{
		{"duplicate name", graphDef(x, x), `node "x": two nodes have this name; export the graph again: names must be unique`},
		{"dangling input", graphDef(nodeDef("y", "Relu", []string{"x"})), `node "y": input "x" is not in the graph; export the graph again: it was cut`},
		{"dangling control input", graphDef(nodeDef("y", "NoOp", []string{"^x"})), `input "x" is not in the graph`},
		{"data after control", graphDef(x, nodeDef("y", "Relu", []string{"^x", "x"})), `node "y": data input "x" comes after a control input`},
		{"bad name", graphDef(nodeDef("a b", "NoOp", nil)), `node "a b": TensorFlow does not accept the node's name`},
		{"own input", graphDef(nodeDef("y", "Relu", []string{"y"})), `node "y": the node waits for its own output; export the graph again: it has a cycle`},
		{"cycle of three", graphDef(x, nodeDef("a", "Add", []string{"x", "c"}), nodeDef("b", "Relu", []string{"a"}), nodeDef("c", "Relu", []string{"b"})), `it has a cycle`},
		{"control cycle", graphDef(nodeDef("a", "NoOp", []string{"^b"}), nodeDef("b", "NoOp", []string{"^a"})), `it has a cycle`},
		{"loop", graphDef(x, nodeDef("enter", "Enter", []string{"x"}), nodeDef("merge", "Merge", []string{"enter", "next"}), nodeDef("next", "NextIteration", []string{"merge"})), ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := openBytes(t, tt.graph).problems.err()
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
		parts = append(parts, nodeDef(fmt.Sprintf("n%d", i), "Relu", []string{"gone"}))
	}
	err := openBytes(t, graphDef(parts...)).problems.err()
	if err == nil || !strings.HasSuffix(err.Error(), "; and 10 more") || strings.Count(err.Error(), "is not in the graph") != maxProblems {
		t.Errorf("got %v", err)
	}
}

func TestLibrary(t *testing.T) {
	function := func(name string, ops ...string) []byte {
		b := appendBytes(nil, functionSignature, appendString(nil, opDefName, name))
		for _, op := range ops {
			b = appendBytes(b, functionNode, appendString(appendString(nil, nodeName, "n"), nodeOp, op))
		}
		return appendBytes(nil, libraryFunction, b)
	}
	library := appendBytes(nil, graphLibrary, append(function("one", "Relu", "Relu"), function("two", "VarHandleOp")...))
	g := openBytes(t, graphDef(tiny(), library))
	want := []indexed{{"one", map[string]int{"Relu": 2}}, {"two", map[string]int{"VarHandleOp": 1}}}
	var got []indexed
	for _, f := range g.functions {
		got = append(got, indexed{f.name, f.ops})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w := g.functionWarnings(); len(w) != 1 || !strings.Contains(w[0], `function "two" of the graph's library has a variable (VarHandleOp)`) {
		t.Errorf("warnings %q", w)
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
		{"^a", "a", controlPort, true},
		{"", "", 0, false},
		{"^", "", controlPort, false},
		{":1", "", 0, false},
		{"a:-1", "", 0, false},
		{"a:+1", "", 0, false},
		{"a:", "", 0, false},
		{"a:2147483647", "", 0, false},
		{"a:99999999999", "", 0, false},
	}
	for _, tt := range tests {
		name, port, ok := splitTensorName(tt.in)
		if ok != tt.ok || ok && (name != tt.name || port != tt.port) {
			t.Errorf("splitTensorName(%q) = %q, %d, %v", tt.in, name, port, ok)
		}
	}
}

// TestLimits makes graphs at and beyond the limits of the index.
func TestLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("makes graphs of a million nodes")
	}
	var b bytes.Buffer
	for i := range maxNodes {
		b.Write(nodeDef(fmt.Sprintf("%x", i), "A", nil))
	}
	if g := openBytes(t, b.Bytes()); len(g.nodes) != maxNodes {
		t.Errorf("%d nodes", len(g.nodes))
	}
	b.Write(nodeDef("one-more", "A", nil))
	_, err := openGraph(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err == nil || !strings.Contains(err.Error(), "GraphDef: more than 1048576 nodes") {
		t.Errorf("got %v", err)
	}
	inputs := slices.Repeat([]string{"a"}, 1<<20)
	b.Reset()
	for i := range 9 {
		b.Write(nodeDef(fmt.Sprintf("n%d", i), "AddN", inputs))
	}
	if _, err := openGraph(bytes.NewReader(b.Bytes()), int64(b.Len())); err == nil || !strings.Contains(err.Error(), "more than 8388608 inputs of nodes") {
		t.Errorf("got %v", err)
	}
}

// TestMemoryIsIndependentOfWeights reads a graph with 64 MB of weights that
// exist only as zeros made on demand.
func TestMemoryIsIndependentOfWeights(t *testing.T) {
	const weight = 16 << 20
	var parts []segment
	var size int64
	add := func(s segment) { s.at = size; parts = append(parts, s); size += s.length() }
	for i := range 4 {
		full := constant(fmt.Sprintf("w%d", i), Float32, ShapeOf(weight/4), make([]byte, weight))
		add(segment{data: full[:len(full)-weight]})
		add(segment{zeros: weight})
	}
	add(segment{data: tiny()})
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g, err := openGraph(segments(parts), size)
	runtime.ReadMemStats(&after)
	if err != nil || len(g.nodes) != 6 {
		t.Fatalf("%v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("indexing allocated %d bytes", used)
	}
}

// segments is a file of given bytes and runs of zeros.
type segments []segment

type segment struct {
	at    int64
	data  []byte
	zeros int64
}

func (s segment) length() int64 { return int64(len(s.data)) + s.zeros }

func (s segments) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for _, part := range s {
		if lo, hi := max(off, part.at), min(off+int64(len(p)), part.at+int64(len(part.data))); lo < hi {
			copy(p[lo-off:hi-off], part.data[lo-part.at:])
		}
	}
	return len(p), nil
}
