package graphopt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// Feed is a tensor that requests give.
type Feed struct {
	Tensor graphwire.Edge
	DType  graphwire.DataType // as the graph says it, or the caller knows it
	Shape  graphwire.Shape    // as the graph says it
}

// Signature is what the optimised graph must still compute.
type Signature struct {
	Inputs  []Feed
	Outputs []graphwire.Edge
}

// Report says what was done, pass by pass.
type Report struct {
	NodesBefore int    `json:"nodes_before"`
	BytesBefore int64  `json:"bytes_before"`
	NodesAfter  int    `json:"nodes_after"`
	BytesAfter  int64  `json:"bytes_after"`
	Passes      []Pass `json:"passes"`
}

// Pass is what one pass did.
type Pass struct {
	Name    string `json:"pass"`          // prune, splice, fold or sweep
	Changed int    `json:"changed"`       // nodes that were removed, of fold: normalisations folded
	Nodes   int    `json:"nodes_removed"` // fewer nodes than before the pass; negative: more
	Bytes   int64  `json:"bytes_saved"`   // fewer bytes than before the pass; negative: more
	Left    []Left `json:"left"`          // what the pass is for and could not be done safely
	More    int    `json:"left_unlisted"` // left beyond those
}

// Left is a node that was left as it is.
type Left struct {
	Node   string `json:"node"`
	Op     string `json:"op"`
	Guard  string `json:"guard,omitempty"` // G1 to G11, or a word where the rule has no number
	Reason string `json:"reason"`
}

// String is the node and why it was left.
func (l Left) String() string {
	text := l.Reason
	if l.Node != "" {
		text = fmt.Sprintf("%s %q: %s", l.Op, l.Node, text)
	}
	if l.Guard != "" {
		text += " (" + l.Guard + ")"
	}
	return text
}

// Folded is the number of batch normalisations that were folded.
func (r *Report) Folded() int {
	i := slices.IndexFunc(r.Passes, func(p Pass) bool { return p.Name == "fold" })
	if i < 0 {
		return 0
	}
	return r.Passes[i].Changed
}

// Left is what all passes left.
func (r *Report) Left() []Left {
	var left []Left
	for _, p := range r.Passes {
		left = append(left, p.Left...)
	}
	return left
}

// maxLeft bounds what a report lists of one pass.
const maxLeft = 1000

func (p *Pass) leave(n *node, guard, reason string) {
	if len(p.Left) == maxLeft {
		p.More++
		return
	}
	p.Left = append(p.Left, Left{Node: n.name, Op: n.op, Guard: guard, Reason: reason})
}

// Graph is an optimised graph that has not been written yet. Its weights are
// still in the file it was made of.
type Graph struct {
	g      *graphwire.Graph
	parts  []part
	size   int64
	report Report
}

// Size is that of the GraphDef in bytes.
func (o *Graph) Size() int64 { return o.size }

// Report says what was done.
func (o *Graph) Report() Report { return o.report }

// Optimize plans the rewriting of a graph without structural problems. Errors
// are of reading the graph, which must not change until the result is written.
func Optimize(g *graphwire.Graph, sig Signature) (*Graph, error) {
	return optimize(g, sig, allGuards)
}

func optimize(g *graphwire.Graph, sig Signature, guards guards) (*Graph, error) {
	if err := g.Problems.Err(); err != nil {
		return nil, fmt.Errorf("optimise graph: %w", err)
	}
	o := newOptimizer(g, sig, guards)
	report := Report{NodesBefore: len(g.Nodes), BytesBefore: g.End - g.Start}
	nodes, size := report.NodesBefore, report.BytesBefore
	out := &Graph{g: g}
	for _, pass := range []struct {
		name string
		run  func(*Pass) error
	}{{"prune", o.prune}, {"splice", o.splice}, {"fold", o.fold}, {"sweep", o.sweep}} {
		p := Pass{Name: pass.name, Left: []Left{}}
		if err := pass.run(&p); err != nil {
			return nil, fmt.Errorf("optimise graph: %s: %w", pass.name, err)
		}
		var err error
		if out.parts, out.size, err = o.layout(); err != nil {
			return nil, fmt.Errorf("optimise graph: %s: %w", pass.name, err)
		}
		kept := o.count()
		p.Nodes, p.Bytes = nodes-kept, size-out.size
		nodes, size = kept, out.size
		report.Passes = append(report.Passes, p)
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("optimise graph: %w", err)
	}
	report.NodesAfter, report.BytesAfter = nodes, size
	out.report = report
	return out, nil
}

// node is a node of the graph as it is being rewritten: one of the file, with
// other inputs perhaps, or a new one.
type node struct {
	name, op string
	inputs   []graphwire.Edge
	kept     bool
	made     *made // nil: as in the file, but for the inputs
}

// made is what a new node has beside its name, operation and inputs.
type made struct {
	device string
	attrs  []byte // fields of the NodeDef
	fold   *fold  // whose weights are the value; nil: the attributes are all
}

// optimizer holds the graph while it is rewritten. New nodes come behind those of
// the file in nodes; before says in front of which node of the file they are
// written.
type optimizer struct {
	g        *graphwire.Graph
	sig      Signature
	guards   guards
	nodes    []node
	before   map[int32][]int32
	names    map[string]bool // of new nodes
	fed      map[graphwire.Edge]bool
	end      map[int32]bool // nodes of the signature's inputs and outputs
	together map[int32][]int32
	uses     uses
	budget   int64 // bytes of weights that may still be folded
}

func newOptimizer(g *graphwire.Graph, sig Signature, guards guards) *optimizer {
	o := &optimizer{
		g: g, sig: sig, guards: guards, nodes: make([]node, len(g.Nodes)), before: map[int32][]int32{}, names: map[string]bool{},
		fed: map[graphwire.Edge]bool{}, end: map[int32]bool{}, together: map[int32][]int32{},
		budget: 2*(g.End-g.Start) + 16<<20,
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		o.nodes[i] = node{name: n.Name, op: n.Op, inputs: n.Inputs, kept: true}
	}
	for _, f := range sig.Inputs {
		o.fed[f.Tensor] = true
		o.end[f.Tensor.Node] = true
	}
	for _, e := range sig.Outputs {
		o.end[e.Node] = true
	}
	return o
}

func (o *optimizer) count() int {
	n := 0
	for i := range o.nodes {
		if o.nodes[i].kept {
			n++
		}
	}
	return n
}

// add makes a new node in front of one of the file. Its name is the wanted one,
// with a number if that is in use (G8).
func (o *optimizer) add(before int32, name, op string, m *made) int32 {
	name = o.fresh(name)
	index := int32(len(o.nodes)) // Below twice the limit of the index.
	o.nodes = append(o.nodes, node{name: name, op: op, kept: true, made: m})
	o.before[before] = append(o.before[before], index)
	return index
}

func (o *optimizer) fresh(want string) string {
	name := want
	for i := 1; ; i++ {
		if _, taken := o.g.ByName[name]; !taken && !o.names[name] {
			o.names[name] = true
			return name
		}
		name = fmt.Sprintf("%s_%d", want, i)
	}
}

// uses counts who reads what, among the nodes that are kept.
type uses struct {
	data    []int32 // readers of a node's outputs
	control []int32 // nodes that wait for it
	port    []int32 // the highest output that is read or in the signature
	placed  map[int32]bool
}

func (o *optimizer) countUses() {
	u := uses{
		data: make([]int32, len(o.nodes)), control: make([]int32, len(o.nodes)), port: make([]int32, len(o.nodes)), placed: map[int32]bool{},
	}
	use := func(e graphwire.Edge) {
		if e.Port == graphwire.ControlPort {
			u.control[e.Node]++
			return
		}
		u.data[e.Node]++
		u.port[e.Node] = max(u.port[e.Node], e.Port)
	}
	for i := range o.nodes {
		if !o.nodes[i].kept {
			continue
		}
		for _, e := range o.nodes[i].inputs {
			use(e)
		}
		for _, j := range o.together[int32(i)] { // Below the limit of the index.
			u.placed[j] = true
		}
	}
	for _, e := range o.sig.Outputs {
		u.port[e.Node] = max(u.port[e.Node], e.Port)
	}
	for _, f := range o.sig.Inputs {
		u.port[f.Tensor.Node] = max(u.port[f.Tensor.Node], f.Tensor.Port)
	}
	o.uses = u
}

// check makes sure that the result is a graph: every node that is kept reads
// nodes that are.
func (o *optimizer) check() error {
	for i := range o.nodes {
		n := &o.nodes[i]
		if !n.kept {
			continue
		}
		for _, e := range n.inputs {
			if !o.nodes[e.Node].kept {
				return fmt.Errorf("node %q reads %q, which was removed", n.name, o.nodes[e.Node].name)
			}
		}
	}
	for node := range o.end {
		if !o.nodes[node].kept {
			return errors.New("a tensor of the signature was removed")
		}
	}
	return nil
}

// controlFlow are the operations of loops and branches of TensorFlow 1, whose
// nodes run in frames or not at all.
var controlFlow = strings.Fields("Switch RefSwitch _SwitchN Merge RefMerge Enter RefEnter Exit RefExit NextIteration RefNextIteration LoopCond")

func (o *optimizer) hasControlFlow() *node {
	for i := range o.nodes {
		if n := &o.nodes[i]; n.kept && slices.Contains(controlFlow, n.op) {
			return n
		}
	}
	return nil
}
