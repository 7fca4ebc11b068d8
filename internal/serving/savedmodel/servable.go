package savedmodel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

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
func checkServable(g *graphwire.Graph, inputs, outputs []resolved) (warnings []string, err error) {
	found := graphwire.Problems{List: slices.Clone(g.Problems.List), More: g.Problems.More}
	fed := map[graphwire.Edge]bool{} // whether an output needs it
	fedNode := map[int32]bool{}
	for _, t := range inputs {
		fed[t.at] = false
		fedNode[t.at.Node] = true
	}
	visited := make([]bool, len(g.Nodes))
	var queue []int32
	push := func(e graphwire.Edge) {
		if e.Node < 0 {
			return // a problem already
		}
		if _, ok := fed[e]; ok {
			fed[e] = true
			return
		}
		if e.Port == graphwire.ControlPort && fedNode[e.Node] && isPlaceholder(g.Nodes[e.Node].Op) {
			return // fed, so done
		}
		if !visited[e.Node] {
			visited[e.Node] = true
			queue = append(queue, e.Node)
		}
	}
	for _, t := range outputs {
		push(t.at)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		n := &g.Nodes[queue[0]]
		switch {
		case n.Op == "Placeholder" || n.Op == "PlaceholderV2":
			found.Add(n.Name, "an output depends on this placeholder, which no request could fill", "name it among the inputs, or freeze the graph without it")
		case needsState[n.Op] != "":
			reason, remedy := stateProblem(n.Op)
			found.Add(n.Name, reason, remedy)
		}
		for _, e := range n.Inputs {
			push(e)
		}
	}
	if err := found.Err(); err != nil {
		return nil, err
	}
	for _, t := range inputs {
		if !fed[t.at] {
			warnings = append(warnings, fmt.Sprintf("no output depends on input %q (%s)", t.Key, t.Tensor))
		}
	}
	return append(warnings, functionWarnings(g)...), nil
}

// functionWarnings names functions that hold state. Whether a request reaches
// them is not followed through their callers.
func functionWarnings(g *graphwire.Graph) []string {
	var warnings []string
	for _, f := range g.Functions {
		for op := range f.Ops {
			if needsState[op] == "variable" || needsState[op] == "table" {
				warnings = append(warnings, fmt.Sprintf("function %q of the graph's library has a %s (%s), which will be empty if a request reaches it",
					f.Name, needsState[op], op))
			}
		}
	}
	slices.Sort(warnings)
	return warnings
}

// placeholders are the nodes made to be fed, in the order of the graph.
func placeholders(g *graphwire.Graph) []int32 {
	var found []int32
	for i := range g.Nodes {
		if isPlaceholder(g.Nodes[i].Op) {
			found = append(found, int32(i)) // Below maxNodes.
		}
	}
	return found
}

// sinks are the nodes with an output that nobody consumes: what the graph was
// most likely made to compute.
func sinks(g *graphwire.Graph) []int32 {
	consumed := make([]bool, len(g.Nodes))
	for i := range g.Nodes {
		for _, e := range g.Nodes[i].Inputs {
			if e.Node >= 0 && e.Port != graphwire.ControlPort {
				consumed[e.Node] = true
			}
		}
	}
	var found []int32
	for i := range g.Nodes {
		op := g.Nodes[i].Op
		if !consumed[i] && !noOutputs[op] && !isPlaceholder(op) && op != "Const" && needsState[op] == "" && !strings.HasSuffix(op, "Summary") {
			found = append(found, int32(i)) // Below maxNodes.
		}
	}
	return found
}
