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
		own := false
		for j, e := range n.inputs {
			if e.Port != 0 || !spliced[e.Node] {
				continue
			}
			if !own { // the index keeps its own
				n.inputs, own = slices.Clone(n.inputs), true
			}
			n.inputs[j] = o.source(e, spliced, target)
		}
	}
	for i, gone := range spliced {
		if gone {
			o.nodes[i].kept = false
		}
	}
	return nil
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
