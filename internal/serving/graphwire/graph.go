package graphwire

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
	MaxProblems   = 20        // listed; the rest are counted
)

// ControlPort is the port of an edge that only orders execution.
const ControlPort = -1

// Edge is one input of a node: a tensor of another node, or its completion.
type Edge struct {
	Node int32 // index into graph.nodes, -1 if the graph has no such node
	Port int32 // output of that node, or ControlPort
}

// Node is what the index keeps of a NodeDef. Attributes, weights among them,
// stay in the file.
type Node struct {
	Name       string
	Op         string
	Inputs     []Edge
	Field      int64 // offset of the field that holds it, tag and length
	Start, End int64 // the NodeDef message in the file
}

// Graph is the index of a GraphDef.
type Graph struct {
	W          *Window
	Start, End int64 // the GraphDef message in the file
	Nodes      []Node
	ByName     map[string]int32
	Functions  []Function
	Producer   int64
	MinConsume int64
	versions   bool // whether the graph states its versions
	Problems   Problems
}

// Function is what the index keeps of a FunctionDef.
type Function struct {
	Name string
	Ops  map[string]int // operations in its body
}

// Field numbers of tensorflow/core/framework: graph.proto, node_def.proto,
// function.proto, op_def.proto, versions.proto.
const (
	GraphNode     = 1
	graphLibrary  = 2
	graphVersion  = 3
	GraphVersions = 4

	NodeName   = 1
	NodeOp     = 2
	NodeInput  = 3
	NodeDevice = 4
	NodeAttr   = 5

	libraryFunction   = 1
	functionSignature = 1
	functionNode      = 3
	opDefName         = 1

	VersionsProducer    = 1
	versionsMinConsumer = 2
)

// indexer builds a graph. Names are numbered when first seen, as a definition
// or as somebody's input, because nodes come in any order.
type indexer struct {
	g     *Graph
	ids   map[string]int32 // Name to number
	def   []int32          // number to node, -1 while undefined
	ops   map[string]string
	bytes int64
	edges int
}

// ReadGraph indexes the GraphDef message in [start,end).
func ReadGraph(w *Window, start, end int64) (*Graph, error) {
	x := &indexer{
		g:   &Graph{W: w, Start: start, End: end, ByName: map[string]int32{}},
		ids: map[string]int32{}, ops: map[string]string{},
	}
	m := NewMessage(w, "GraphDef", start, end)
	err := m.Each(func(f Field) error {
		switch f.Num {
		case GraphNode:
			return x.node(&m, f)
		case graphLibrary:
			return x.library(&m, f)
		case graphVersion:
			if f.Typ == protowire.BytesType {
				return FormatErrorf(f.Start, "GraphDef: field 3 has wire type 2, want 0: this looks like a MetaGraphDef, the .meta file of a checkpoint; freeze the graph first")
			}
			return m.Want(f, protowire.VarintType)
		case GraphVersions:
			return x.versions(&m, f)
		}
		return nil // of a later TensorFlow; passes through
	})
	if err != nil {
		return nil, err
	}
	if len(x.g.Nodes) == 0 {
		return nil, FormatErrorf(-1, "the graph has no nodes")
	}
	x.resolve()
	x.g.checkOrder()
	return x.g, nil
}

func (x *indexer) node(parent *Message, f Field) error {
	if err := parent.Want(f, protowire.BytesType); err != nil {
		return err
	}
	if len(x.g.Nodes) == maxNodes {
		return FormatErrorf(f.Start, "GraphDef: more than %d nodes", maxNodes)
	}
	m := parent.Sub(f, "NodeDef")
	n := Node{Field: f.Start, Start: f.Off, End: f.End()}
	control := false
	err := m.Each(func(f Field) (err error) {
		switch f.Num {
		case NodeName:
			n.Name, err = x.text(&m, f)
		case NodeOp:
			n.Op, err = x.text(&m, f)
			if op, ok := x.ops[n.Op]; ok {
				n.Op = op
			} else {
				x.ops[n.Op] = n.Op
			}
		case NodeInput:
			var s string
			if s, err = x.text(&m, f); err == nil {
				control, err = x.input(&n, s, control, f.Start)
			}
		case NodeAttr:
			err = m.Want(f, protowire.BytesType)
		}
		return err
	})
	if err != nil {
		return err
	}
	if n.Name == "" || n.Op == "" {
		return FormatErrorf(f.Start, "GraphDef: node %d has no name or no operation: this is not a frozen graph", len(x.g.Nodes))
	}
	if !ValidNodeName(n.Name) {
		x.g.Problems.Add(n.Name, "TensorFlow does not accept the node's name", "rename the node where the graph is exported")
	}
	index := int32(len(x.g.Nodes)) // Below maxNodes.
	if id := x.id(n.Name); x.def[id] >= 0 {
		x.g.Problems.Add(n.Name, "two nodes have this name", "export the graph again: names must be unique")
	} else {
		x.def[id] = index
		x.g.ByName[n.Name] = index
	}
	x.g.Nodes = append(x.g.Nodes, n)
	return nil
}

// Text reads a string of a node within the index's budget.
func (x *indexer) text(m *Message, f Field) (string, error) {
	if x.bytes += f.Length; x.bytes > maxIndexBytes {
		return "", FormatErrorf(f.Start, "GraphDef: the names of nodes take more than %d MiB", maxIndexBytes>>20)
	}
	return m.Text(f)
}

// input appends one input; after says whether a control input came before.
func (x *indexer) input(n *Node, s string, after bool, offset int64) (bool, error) {
	if x.edges++; x.edges > maxEdges {
		return false, FormatErrorf(offset, "GraphDef: more than %d inputs of nodes", maxEdges)
	}
	name, port, ok := SplitTensorName(s)
	if !ok {
		return false, FormatErrorf(offset, "NodeDef %q: input %q is not of the form node, node:port or ^node", n.Name, s)
	}
	if port != ControlPort && after {
		x.g.Problems.Add(n.Name, fmt.Sprintf("data input %q comes after a control input", s), "export the graph again")
	}
	n.Inputs = append(n.Inputs, Edge{Node: x.id(name), Port: port})
	return after || port == ControlPort, nil
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
	for i := range x.g.Nodes {
		n := &x.g.Nodes[i]
		for j, e := range n.Inputs {
			n.Inputs[j].Node = x.def[e.Node]
			if x.def[e.Node] < 0 {
				x.g.Problems.Add(n.Name, fmt.Sprintf("input %q is not in the graph", names[e.Node]), "export the graph again: it was cut")
			}
		}
	}
}

func (x *indexer) library(parent *Message, f Field) error {
	if err := parent.Want(f, protowire.BytesType); err != nil {
		return err
	}
	lib := parent.Sub(f, "FunctionDefLibrary")
	return lib.Each(func(f Field) error {
		if f.Num != libraryFunction {
			return nil
		}
		if err := lib.Want(f, protowire.BytesType); err != nil {
			return err
		}
		if len(x.g.Functions) == maxNodes {
			return FormatErrorf(f.Start, "GraphDef: more than %d functions", maxNodes)
		}
		def := lib.Sub(f, "FunctionDef")
		fn := Function{Ops: map[string]int{}}
		err := def.Each(func(f Field) error {
			var into *string
			var op string
			want := int32(opDefName)
			switch f.Num {
			case functionSignature:
				into = &fn.Name
			case functionNode:
				into, want = &op, NodeOp
			default:
				return nil
			}
			if err := def.Want(f, protowire.BytesType); err != nil {
				return err
			}
			inner := def.Sub(f, "FunctionDef")
			err := inner.Each(func(f Field) (err error) {
				if f.Num == want {
					*into, err = x.text(&inner, f)
				}
				return err
			})
			if op != "" {
				fn.Ops[op]++
			}
			return err
		})
		x.g.Functions = append(x.g.Functions, fn)
		return err
	})
}

func (x *indexer) versions(parent *Message, f Field) error {
	if err := parent.Want(f, protowire.BytesType); err != nil {
		return err
	}
	x.g.versions = true
	m := parent.Sub(f, "VersionDef")
	return m.Each(func(f Field) error {
		switch f.Num {
		case VersionsProducer:
			x.g.Producer = int64(f.Value) // An int32 in two's complement.
		case versionsMinConsumer:
			x.g.MinConsume = int64(f.Value) // An int32 in two's complement.
		default:
			return nil
		}
		return m.Want(f, protowire.VarintType)
	})
}

// SplitTensorName takes apart "node", "node:port" or "^node".
func SplitTensorName(s string) (name string, port int32, ok bool) {
	if rest, control := strings.CutPrefix(s, "^"); control {
		return rest, ControlPort, rest != ""
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

// ValidNodeName follows TensorFlow's rule (tensorflow/core/framework/
// node_def_util.cc), with the leading underscore of internal nodes.
func ValidNodeName(name string) bool {
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

// TensorName is the name of an edge's tensor in a signature: always with port.
func (g *Graph) TensorName(e Edge) string {
	return g.Nodes[e.Node].Name + ":" + strconv.Itoa(int(e.Port))
}

// checkOrder finds nodes that wait for each other. The only legal cycle is a
// loop of TensorFlow 1, which runs through NextIteration.
func (g *Graph) checkOrder() {
	waiting := make([]int32, len(g.Nodes))
	first := make([]int32, len(g.Nodes)+1) // consumers of node i are consumers[first[i]:first[i+1]]
	live := func(e Edge) bool { return e.Node >= 0 && !isNextIteration(g.Nodes[e.Node].Op) }
	for i := range g.Nodes {
		for _, e := range g.Nodes[i].Inputs {
			if live(e) {
				waiting[i]++
				first[e.Node+1]++
			}
		}
	}
	for i := range g.Nodes {
		first[i+1] += first[i]
	}
	consumers := make([]int32, first[len(g.Nodes)])
	next := append([]int32(nil), first[:len(g.Nodes)]...)
	for i := range g.Nodes {
		for _, e := range g.Nodes[i].Inputs {
			if live(e) {
				consumers[next[e.Node]] = int32(i) // Below maxNodes.
				next[e.Node]++
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
	if done == len(g.Nodes) {
		return
	}
	for i, n := range waiting {
		if n > 0 {
			g.Problems.Add(g.Nodes[i].Name, "the node waits for its own output", "export the graph again: it has a cycle")
			return
		}
	}
}

func isNextIteration(op string) bool { return op == "NextIteration" || op == "RefNextIteration" }

// Device is where a node is to run; empty for anywhere.
func (g *Graph) Device(n *Node) (device string, err error) {
	m := NewMessage(g.W, "NodeDef "+n.Name, n.Start, n.End)
	err = m.Each(func(f Field) (err error) {
		if f.Num == NodeDevice {
			device, err = m.Text(f)
		}
		return err
	})
	return device, err
}

// OpenGraph returns the index of the GraphDef in a whole file.
func OpenGraph(r io.ReaderAt, size int64) (*Graph, error) {
	w := NewWindow(r, size)
	return ReadGraph(w, 0, size)
}
