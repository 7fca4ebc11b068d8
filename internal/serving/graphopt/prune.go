package graphopt

import (
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// prune keeps what the signature needs.
func (o *optimizer) prune(p *Pass) error {
	o.countUses()
	for _, f := range o.sig.Inputs {
		i := f.Tensor.Node
		n := &o.nodes[i]
		switch {
		case strings.HasPrefix(n.op, "Placeholder"):
			continue
		case f.Tensor.Port != 0 || o.uses.port[i] > 0:
			p.leave(n, "", "it is an input of the signature, but has other outputs that are read")
		case o.uses.control[i] > 0:
			p.leave(n, "", "it is an input of the signature, but other nodes wait for it")
		case f.DType == graphwire.Invalid:
			p.leave(n, "", "it is an input of the signature, but its dtype does not follow from the graph")
		default:
			n.op, n.inputs = "Placeholder", nil
			n.made = &made{attrs: appendAttr(appendAttr(nil, "dtype", typeValue(f.DType)), "shape", graphwire.AppendBytes(nil, graphwire.AttrShape, graphwire.EncodeShape(f.Shape)))}
		}
	}
	dropped, err := o.reach()
	p.Changed = dropped
	return err
}

// sweep drops what rewriting has left without readers.
func (o *optimizer) sweep(p *Pass) error {
	dropped, err := o.reach()
	p.Changed = dropped
	return err
}

// reach drops the nodes that the signature does not need and counts them.
func (o *optimizer) reach() (dropped int, err error) {
	visited := make([]bool, len(o.nodes))
	var queue []int32
	push := func(i int32) {
		if !visited[i] {
			visited[i] = true
			queue = append(queue, i)
		}
	}
	for _, f := range o.sig.Inputs {
		push(f.Tensor.Node) // a signature names it, so it must exist
	}
	for _, e := range o.sig.Outputs {
		push(e.Node)
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range o.nodes[i].inputs {
			push(e.Node)
		}
		together, err := o.placedWith(i)
		if err != nil {
			return 0, err
		}
		for _, j := range together {
			push(j)
		}
	}
	for i := range o.nodes {
		if o.nodes[i].kept && !visited[i] {
			o.nodes[i].kept = false
			dropped++
		}
	}
	return dropped, nil
}

// placedWith are the nodes that a node must run beside, by its attribute _class.
// They must stay in the graph.
func (o *optimizer) placedWith(i int32) ([]int32, error) {
	if o.nodes[i].made != nil {
		delete(o.together, i)
		return nil, nil
	}
	if known, ok := o.together[i]; ok {
		return known, nil
	}
	a, err := o.g.ReadAttrs(&o.g.Nodes[i])
	if err != nil {
		return nil, err
	}
	classes, err := a.Texts("_class")
	if err != nil {
		return nil, err
	}
	var together []int32
	for _, class := range classes {
		if name, ok := strings.CutPrefix(class, "loc:@"); ok {
			if j, ok := o.g.ByName[name]; ok {
				together = append(together, j)
			}
		}
	}
	if len(together) > 0 {
		o.together[i] = together
	}
	return together, nil
}
