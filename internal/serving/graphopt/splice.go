package graphopt

import (
	"slices"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// splice takes out nodes that pass their input on.
func (o *optimizer) splice(p *Pass) error {
	if o.refuseGraph(p) {
		return nil
	}
	o.dropWaits()
	o.countUses()
	spliced := make([]bool, len(o.nodes))
	for i := range o.nodes {
		n := &o.nodes[i]
		if !n.kept || n.op != "Identity" && n.op != "CheckNumerics" || len(n.inputs) == 0 || n.inputs[0].Port == graphwire.ControlPort {
			continue
		}
		if guard, reason := o.refuseSplice(int32(i)); reason != "" { // Below the limit of the index.
			p.leave(n, guard, reason)
			continue
		}
		spliced[i] = true
		p.Changed++
	}
	target := map[int32]graphwire.Edge{}
	for i := range o.nodes {
		n := &o.nodes[i]
		if !n.kept || spliced[i] {
			continue
		}
		reads := func(e graphwire.Edge) bool { return spliced[e.Node] && e.Port <= 0 }
		if !slices.ContainsFunc(n.inputs, reads) {
			continue
		}
		var inputs []graphwire.Edge // the index keeps its own
		for _, e := range n.inputs {
			if reads(e) {
				from := o.source(graphwire.Edge{Node: e.Node}, spliced, target)
				if e.Port == graphwire.ControlPort { // the one is there when the other is
					from.Port = graphwire.ControlPort
				}
				e = from
			}
			if e.Port != graphwire.ControlPort || !slices.ContainsFunc(inputs, func(o graphwire.Edge) bool { return o.Node == e.Node }) {
				inputs = append(inputs, e)
			}
		}
		n.inputs = inputs
	}
	for i, gone := range spliced {
		if gone {
			o.nodes[i].kept = false
		}
	}
	return nil
}

// maxRounds bounds how often dropWaits goes through a graph whose nodes are in
// no good order.
const maxRounds = 16

// dropWaits removes control edges from what is there from the beginning:
// constants, and what only passes them on. Converters of TensorFlow 2 leave a NoOp
// that waits for every weight.
func (o *optimizer) dropWaits() {
	done := make([]bool, len(o.nodes))
	ready := func(e graphwire.Edge) bool { return done[e.Node] && !o.fed[graphwire.Edge{Node: e.Node}] }
	for range maxRounds {
		changed := false
		for i := range o.nodes {
			n := &o.nodes[i]
			if n.kept && !done[i] && (n.op == "Const" || n.op == "NoOp" || n.op == "Identity") && !slices.ContainsFunc(n.inputs, func(e graphwire.Edge) bool { return !ready(e) }) {
				done[i], changed = true, true
			}
		}
		if !changed {
			break
		}
	}
	for i := range o.nodes {
		n := &o.nodes[i]
		drop := func(e graphwire.Edge) bool { return e.Port == graphwire.ControlPort && ready(e) }
		if n.kept && slices.ContainsFunc(n.inputs, drop) {
			n.inputs = slices.DeleteFunc(slices.Clone(n.inputs), drop)
		}
	}
}

// refuseGraph leaves the whole graph as it is.
func (o *optimizer) refuseGraph(p *Pass) bool {
	for _, guard := range o.guards.graph {
		if reason := guard.refuse(o); reason != "" {
			p.leave(&node{}, guard.id, reason)
			return true
		}
	}
	return false
}

func (o *optimizer) refuseSplice(i int32) (guard, reason string) {
	for _, guard := range o.guards.splice {
		if reason := guard.refuse(o, i); reason != "" {
			return guard.id, reason
		}
	}
	return "", ""
}

// source follows an edge through nodes that are spliced. It ends, because loops
// need control flow. What is found is remembered, so that a long chain is walked
// once.
func (o *optimizer) source(e graphwire.Edge, spliced []bool, target map[int32]graphwire.Edge) graphwire.Edge {
	var path []int32
	for e.Port == 0 && spliced[e.Node] {
		if known, ok := target[e.Node]; ok {
			e = known
			break
		}
		path = append(path, e.Node)
		e = o.nodes[e.Node].inputs[0]
	}
	for _, i := range path {
		target[i] = e
	}
	return e
}
