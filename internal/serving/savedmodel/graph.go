package savedmodel

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of the index, far above real graphs: a ResNet-50 has about 1,000
// nodes, the largest published frozen graphs about 100,000.
const (
	maxNodes      = 1 << 20
	maxEdges      = 1 << 23
	maxNameBytes  = 64 << 10  // of one name, operation or input
	maxIndexBytes = 256 << 20 // of all names together
	maxProblems   = 20        // listed; the rest are counted
)

// controlPort is the port of an edge that only orders execution.
const controlPort = -1

// edge is one input of a node: a tensor of another node, or its completion.
type edge struct {
	node int32 // index into graph.nodes, -1 if the graph has no such node
	port int32 // output of that node, or controlPort
}

// node is what the index keeps of a NodeDef. Attributes, weights among them,
// stay in the file.
type node struct {
	name       string
	op         string
	inputs     []edge
	start, end int64 // the NodeDef message in the file, without tag and length
}

// graph is the index of a GraphDef.
type graph struct {
	w          *window
	start, end int64 // the GraphDef message in the file
	nodes      []node
	byName     map[string]int32
	functions  []function
	producer   int64
	minConsume int64
	versions   bool // whether the graph states its versions
	problems   problems
}

// function is what the index keeps of a FunctionDef.
type function struct {
	name string
	ops  map[string]int // operations in its body
}

// Field numbers of tensorflow/core/framework: graph.proto, node_def.proto,
// function.proto, op_def.proto, versions.proto.
const (
	graphNode     = 1
	graphLibrary  = 2
	graphVersion  = 3
	graphVersions = 4

	nodeName  = 1
	nodeOp    = 2
	nodeInput = 3
	nodeAttr  = 5

	libraryFunction   = 1
	functionSignature = 1
	functionNode      = 3
	opDefName         = 1

	versionsProducer    = 1
	versionsMinConsumer = 2
)

// indexer builds a graph. Names are numbered when first seen, as a definition
// or as somebody's input, because nodes come in any order.
type indexer struct {
	g     *graph
	ids   map[string]int32 // name to number
	def   []int32          // number to node, -1 while undefined
	ops   map[string]string
	bytes int64
	edges int
}

// readGraph indexes the GraphDef message in [start,end).
func readGraph(w *window, start, end int64) (*graph, error) {
	x := &indexer{
		g:   &graph{w: w, start: start, end: end, byName: map[string]int32{}},
		ids: map[string]int32{}, ops: map[string]string{},
	}
	m := message{w: w, name: "GraphDef", pos: start, end: end}
	err := m.each(func(f field) error {
		switch f.num {
		case graphNode:
			return x.node(&m, f)
		case graphLibrary:
			return x.library(&m, f)
		case graphVersion:
			if f.typ == protowire.BytesType {
				return formatErrorf(f.start, "GraphDef: field 3 has wire type 2, want 0: this looks like a MetaGraphDef, the .meta file of a checkpoint; freeze the graph first")
			}
			return m.want(f, protowire.VarintType)
		case graphVersions:
			return x.versions(&m, f)
		}
		return nil // of a later TensorFlow; passes through
	})
	if err != nil {
		return nil, err
	}
	if len(x.g.nodes) == 0 {
		return nil, formatErrorf(-1, "the graph has no nodes")
	}
	x.resolve()
	x.g.checkOrder()
	return x.g, nil
}

func (x *indexer) node(parent *message, f field) error {
	if err := parent.want(f, protowire.BytesType); err != nil {
		return err
	}
	if len(x.g.nodes) == maxNodes {
		return formatErrorf(f.start, "GraphDef: more than %d nodes", maxNodes)
	}
	m := parent.sub(f, "NodeDef")
	n := node{start: f.off, end: f.end()}
	control := false
	err := m.each(func(f field) (err error) {
		switch f.num {
		case nodeName:
			n.name, err = x.text(&m, f)
		case nodeOp:
			n.op, err = x.text(&m, f)
			if op, ok := x.ops[n.op]; ok {
				n.op = op
			} else {
				x.ops[n.op] = n.op
			}
		case nodeInput:
			var s string
			if s, err = x.text(&m, f); err == nil {
				control, err = x.input(&n, s, control, f.start)
			}
		case nodeAttr:
			err = m.want(f, protowire.BytesType)
		}
		return err
	})
	if err != nil {
		return err
	}
	if n.name == "" || n.op == "" {
		return formatErrorf(f.start, "GraphDef: node %d has no name or no operation: this is not a frozen graph", len(x.g.nodes))
	}
	if !validNodeName(n.name) {
		x.g.problems.add(n.name, "TensorFlow does not accept the node's name", "rename the node where the graph is exported")
	}
	index := int32(len(x.g.nodes)) // Below maxNodes.
	if id := x.id(n.name); x.def[id] >= 0 {
		x.g.problems.add(n.name, "two nodes have this name", "export the graph again: names must be unique")
	} else {
		x.def[id] = index
		x.g.byName[n.name] = index
	}
	x.g.nodes = append(x.g.nodes, n)
	return nil
}

// text reads a string of a node within the index's budget.
func (x *indexer) text(m *message, f field) (string, error) {
	if x.bytes += f.length; x.bytes > maxIndexBytes {
		return "", formatErrorf(f.start, "GraphDef: the names of nodes take more than %d MiB", maxIndexBytes>>20)
	}
	return m.text(f)
}

// input appends one input; after says whether a control input came before.
func (x *indexer) input(n *node, s string, after bool, offset int64) (bool, error) {
	if x.edges++; x.edges > maxEdges {
		return false, formatErrorf(offset, "GraphDef: more than %d inputs of nodes", maxEdges)
	}
	name, port, ok := splitTensorName(s)
	if !ok {
		return false, formatErrorf(offset, "NodeDef %q: input %q is not of the form node, node:port or ^node", n.name, s)
	}
	if port != controlPort && after {
		x.g.problems.add(n.name, fmt.Sprintf("data input %q comes after a control input", s), "export the graph again")
	}
	n.inputs = append(n.inputs, edge{node: x.id(name), port: port})
	return after || port == controlPort, nil
}

func (x *indexer) id(name string) int32 {
	id, ok := x.ids[name]
	if !ok {
		id = int32(len(x.def)) // Bounded by maxNodes and maxEdges.
		x.ids[name] = id
		x.def = append(x.def, -1)
	}
	return id
}

// resolve turns the numbers of names in the edges into indices of nodes.
func (x *indexer) resolve() {
	names := make([]string, len(x.def))
	for name, id := range x.ids {
		names[id] = name
	}
	for i := range x.g.nodes {
		n := &x.g.nodes[i]
		for j, e := range n.inputs {
			n.inputs[j].node = x.def[e.node]
			if x.def[e.node] < 0 {
				x.g.problems.add(n.name, fmt.Sprintf("input %q is not in the graph", names[e.node]), "export the graph again: it was cut")
			}
		}
	}
}

func (x *indexer) library(parent *message, f field) error {
	if err := parent.want(f, protowire.BytesType); err != nil {
		return err
	}
	lib := parent.sub(f, "FunctionDefLibrary")
	return lib.each(func(f field) error {
		if f.num != libraryFunction {
			return nil
		}
		if err := lib.want(f, protowire.BytesType); err != nil {
			return err
		}
		if len(x.g.functions) == maxNodes {
			return formatErrorf(f.start, "GraphDef: more than %d functions", maxNodes)
		}
		def := lib.sub(f, "FunctionDef")
		fn := function{ops: map[string]int{}}
		err := def.each(func(f field) error {
			var into *string
			var op string
			want := int32(opDefName)
			switch f.num {
			case functionSignature:
				into = &fn.name
			case functionNode:
				into, want = &op, nodeOp
			default:
				return nil
			}
			if err := def.want(f, protowire.BytesType); err != nil {
				return err
			}
			inner := def.sub(f, "FunctionDef")
			err := inner.each(func(f field) (err error) {
				if f.num == want {
					*into, err = x.text(&inner, f)
				}
				return err
			})
			if op != "" {
				fn.ops[op]++
			}
			return err
		})
		x.g.functions = append(x.g.functions, fn)
		return err
	})
}

func (x *indexer) versions(parent *message, f field) error {
	if err := parent.want(f, protowire.BytesType); err != nil {
		return err
	}
	x.g.versions = true
	m := parent.sub(f, "VersionDef")
	return m.each(func(f field) error {
		switch f.num {
		case versionsProducer:
			x.g.producer = int64(f.value) // An int32 in two's complement.
		case versionsMinConsumer:
			x.g.minConsume = int64(f.value) // An int32 in two's complement.
		default:
			return nil
		}
		return m.want(f, protowire.VarintType)
	})
}

// splitTensorName takes apart "node", "node:port" or "^node".
func splitTensorName(s string) (name string, port int32, ok bool) {
	if rest, control := strings.CutPrefix(s, "^"); control {
		return rest, controlPort, rest != ""
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, s != ""
	}
	for _, c := range s[i+1:] {
		if c < '0' || c > '9' {
			return "", 0, false
		}
	}
	p, err := strconv.ParseInt(s[i+1:], 10, 32)
	if err != nil || p == math.MaxInt32 || i == 0 {
		return "", 0, false
	}
	return s[:i], int32(p), true
}

// validNodeName follows TensorFlow's rule (tensorflow/core/framework/
// node_def_util.cc), with the leading underscore of internal nodes.
func validNodeName(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_':
		case i > 0 && (c == '-' || c == '/' || c == '\\' || c == '>'):
		default:
			return false
		}
	}
	return true
}

// tensorName is the name of an edge's tensor in a signature: always with port.
func (g *graph) tensorName(e edge) string {
	return g.nodes[e.node].name + ":" + strconv.Itoa(int(e.port))
}

// checkOrder finds nodes that wait for each other. The only legal cycle is a
// loop of TensorFlow 1, which runs through NextIteration.
func (g *graph) checkOrder() {
	waiting := make([]int32, len(g.nodes))
	first := make([]int32, len(g.nodes)+1) // consumers of node i are consumers[first[i]:first[i+1]]
	live := func(e edge) bool { return e.node >= 0 && !isNextIteration(g.nodes[e.node].op) }
	for i := range g.nodes {
		for _, e := range g.nodes[i].inputs {
			if live(e) {
				waiting[i]++
				first[e.node+1]++
			}
		}
	}
	for i := range g.nodes {
		first[i+1] += first[i]
	}
	consumers := make([]int32, first[len(g.nodes)])
	next := append([]int32(nil), first[:len(g.nodes)]...)
	for i := range g.nodes {
		for _, e := range g.nodes[i].inputs {
			if live(e) {
				consumers[next[e.node]] = int32(i) // Below maxNodes.
				next[e.node]++
			}
		}
	}
	var ready []int32
	for i, n := range waiting {
		if n == 0 {
			ready = append(ready, int32(i)) // Below maxNodes.
		}
	}
	done := 0
	for ; len(ready) > 0; done++ {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for _, c := range consumers[first[i]:first[i+1]] {
			if waiting[c]--; waiting[c] == 0 {
				ready = append(ready, c)
			}
		}
	}
	if done == len(g.nodes) {
		return
	}
	for i, n := range waiting {
		if n > 0 {
			g.problems.add(g.nodes[i].name, "the node waits for its own output", "export the graph again: it has a cycle")
			return
		}
	}
}

func isNextIteration(op string) bool { return op == "NextIteration" || op == "RefNextIteration" }

// open returns the index of the GraphDef in a whole file.
func openGraph(r io.ReaderAt, size int64) (*graph, error) {
	w := newWindow(r, size)
	return readGraph(w, 0, size)
}
