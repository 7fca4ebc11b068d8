package savedmodel

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is something that keeps a graph from being served.
type Problem struct {
	Node   string `json:"node"` // empty when it is of the graph as a whole
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

func (p Problem) String() string {
	s := p.Reason + "; " + p.Remedy
	if p.Node != "" {
		s = fmt.Sprintf("node %q: %s", p.Node, s)
	}
	return s
}

// problems keeps the first few and counts the rest.
type problems struct {
	list []Problem
	more int
}

func (p *problems) add(node, reason, remedy string) {
	if len(p.list) == maxProblems {
		p.more++
		return
	}
	p.list = append(p.list, Problem{Node: node, Reason: reason, Remedy: remedy})
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &NotServableError{Problems: slices.Clone(p.list), More: p.more}
}

// A NotServableError says why TensorFlow Serving could not run a graph.
type NotServableError struct {
	Problems []Problem // at most 20
	More     int       // problems beyond those
}

func (e *NotServableError) Error() string {
	var b strings.Builder
	b.WriteString("the graph cannot be served: ")
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	return b.String()
}

// needsState are operations whose result is not in the graph, and what they
// stand for.
var needsState = map[string]string{
	"Variable": "variable", "VariableV2": "variable", "VarHandleOp": "variable", "AutoReloadVariable": "variable", "VarHandlesOp": "variable",
	"HashTable": "table", "HashTableV2": "table", "MutableHashTable": "table", "MutableHashTableV2": "table",
	"MutableHashTableOfTensors": "table", "MutableHashTableOfTensorsV2": "table", "MutableDenseHashTable": "table",
	"MutableDenseHashTableV2": "table", "AnonymousHashTable": "table",
	"Iterator": "iterator", "IteratorV2": "iterator", "OneShotIterator": "iterator", "AnonymousIterator": "iterator",
	"AnonymousIteratorV2": "iterator", "AnonymousIteratorV3": "iterator",
	"FIFOQueue": "queue", "FIFOQueueV2": "queue", "RandomShuffleQueue": "queue", "RandomShuffleQueueV2": "queue",
	"PaddingFIFOQueue": "queue", "PaddingFIFOQueueV2": "queue",
	"PyFunc": "python", "PyFuncStateless": "python", "EagerPyFunc": "python",
}

// stateProblem words what a node of needsState means.
func stateProblem(op string) (reason, remedy string) {
	switch needsState[op] {
	case "variable":
		return "it is a variable (" + op + "), so the graph is not frozen: its values are in a checkpoint",
			"freeze the graph with tf.compat.v1.graph_util.convert_variables_to_constants, or export a SavedModel with its variables"
	case "table":
		return "it is a lookup table (" + op + "), which a SavedModel fills by an initialisation that a frozen graph does not carry",
			"export a SavedModel where the model is made, or look words up on the client"
	case "iterator":
		return "it draws from a data pipeline (" + op + "), which exists during training only",
			"freeze the graph with a Placeholder in the pipeline's place, or name the pipeline's tensors as inputs"
	case "queue":
		return "it draws from a queue (" + op + "), which exists during training only",
			"freeze the graph with a Placeholder in the queue's place, or name the dequeued tensors as inputs"
	default:
		return "it calls back into a Python program (" + op + ")", "replace it by TensorFlow operations and freeze again"
	}
}

func isPlaceholder(op string) bool {
	return op == "Placeholder" || op == "PlaceholderV2" || op == "PlaceholderWithDefault"
}

// checkServable follows the graph from its outputs back to its inputs, as a
// session does, and finds what a request could not compute.
func (g *graph) checkServable(inputs, outputs []resolved) (warnings []string, err error) {
	found := problems{list: slices.Clone(g.problems.list), more: g.problems.more}
	fed := map[edge]bool{} // whether an output needs it
	fedNode := map[int32]bool{}
	for _, t := range inputs {
		fed[t.at] = false
		fedNode[t.at.node] = true
	}
	visited := make([]bool, len(g.nodes))
	var queue []int32
	push := func(e edge) {
		if e.node < 0 {
			return // a problem already
		}
		if _, ok := fed[e]; ok {
			fed[e] = true
			return
		}
		if e.port == controlPort && fedNode[e.node] && isPlaceholder(g.nodes[e.node].op) {
			return // fed, so done
		}
		if !visited[e.node] {
			visited[e.node] = true
			queue = append(queue, e.node)
		}
	}
	for _, t := range outputs {
		push(t.at)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		n := &g.nodes[queue[0]]
		switch {
		case n.op == "Placeholder" || n.op == "PlaceholderV2":
			found.add(n.name, "an output depends on this placeholder, which no request could fill", "name it among the inputs, or freeze the graph without it")
		case needsState[n.op] != "":
			reason, remedy := stateProblem(n.op)
			found.add(n.name, reason, remedy)
		}
		for _, e := range n.inputs {
			push(e)
		}
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	for _, t := range inputs {
		if !fed[t.at] {
			warnings = append(warnings, fmt.Sprintf("no output depends on input %q (%s)", t.Key, t.Tensor))
		}
	}
	return append(warnings, g.functionWarnings()...), nil
}

// functionWarnings names functions that hold state. Whether a request reaches
// them is not followed through their callers.
func (g *graph) functionWarnings() []string {
	var warnings []string
	for _, f := range g.functions {
		for op := range f.ops {
			if needsState[op] == "variable" || needsState[op] == "table" {
				warnings = append(warnings, fmt.Sprintf("function %q of the graph's library has a %s (%s), which will be empty if a request reaches it",
					f.name, needsState[op], op))
			}
		}
	}
	slices.Sort(warnings)
	return warnings
}

// placeholders are the nodes made to be fed, in the order of the graph.
func (g *graph) placeholders() []int32 {
	var found []int32
	for i := range g.nodes {
		if isPlaceholder(g.nodes[i].op) {
			found = append(found, int32(i)) // Below maxNodes.
		}
	}
	return found
}

// sinks are the nodes with an output that nobody consumes: what the graph was
// most likely made to compute.
func (g *graph) sinks() []int32 {
	consumed := make([]bool, len(g.nodes))
	for i := range g.nodes {
		for _, e := range g.nodes[i].inputs {
			if e.node >= 0 && e.port != controlPort {
				consumed[e.node] = true
			}
		}
	}
	var found []int32
	for i := range g.nodes {
		op := g.nodes[i].op
		if !consumed[i] && !noOutputs[op] && !isPlaceholder(op) && op != "Const" && needsState[op] == "" && !strings.HasSuffix(op, "Summary") {
			found = append(found, int32(i)) // Below maxNodes.
		}
	}
	return found
}
