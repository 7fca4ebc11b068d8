package graphopt

import (
	"fmt"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// guards are the tests that a rewrite must pass. Each says why not, or nothing.
type guards struct {
	graph  []graphGuard
	splice []spliceGuard
	fold   []foldGuard
}

type graphGuard struct {
	id     string
	refuse func(o *optimizer) string
}

type spliceGuard struct {
	id     string // Gn, or a word for those that are of this pass alone
	refuse func(o *optimizer, i int32) string
}

type foldGuard struct {
	id     string
	refuse func(o *optimizer, c *candidate) string
}

var allGuards = guards{
	graph: []graphGuard{{"G11", refuseControlFlow}},
	splice: []spliceGuard{
		{"G10", refuseEnds},
		{"waits", refuseWaiting},
		{"placed", refusePlaced},
		{"port", refusePorts},
	},
	fold: []foldGuard{
		{"G1", refuseTraining},
		{"G4", refuseStatistics},
		{"G6", refuseLayout},
		{"G10", refuseInner},
		{"G2", refuseShared},
	},
}

func refuseControlFlow(o *optimizer) string {
	if n := o.hasControlFlow(); n != nil {
		return fmt.Sprintf("the graph has control flow of TensorFlow 1 (%s %q), whose nodes are bound to a loop or branch", n.op, n.name)
	}
	return ""
}

func refuseEnds(o *optimizer, i int32) string {
	if o.end[i] {
		return "it is an input or output of the signature"
	}
	return ""
}

func refuseWaiting(o *optimizer, i int32) string {
	for _, e := range o.nodes[i].inputs {
		if e.Port == graphwire.ControlPort {
			return "it waits for another node"
		}
	}
	return ""
}

func refusePlaced(o *optimizer, i int32) string {
	if o.uses.placed[i] {
		return "another node must run where it runs"
	}
	return ""
}

func refusePorts(o *optimizer, i int32) string {
	if o.uses.port[i] > 0 {
		return "an output is read that it does not have"
	}
	return ""
}

// refuseTraining also takes an absent attribute for yes, as TensorFlow does.
func refuseTraining(_ *optimizer, c *candidate) string {
	if c.training {
		return "it computes its own statistics (is_training)"
	}
	return ""
}

func refuseStatistics(o *optimizer, c *candidate) string {
	if port := o.uses.port[c.norm]; port > 0 {
		return fmt.Sprintf("its output %d is read", port)
	}
	return ""
}

func refuseLayout(_ *optimizer, c *candidate) string {
	if c.layout != "NHWC" && c.layout != "NCHW" {
		return "the layout " + c.layout + " of the convolution cannot be given to a BiasAdd"
	}
	if c.normLayout != c.layout {
		return fmt.Sprintf("it normalises %s, the convolution makes %s", c.normLayout, c.layout)
	}
	if c.bias >= 0 && c.biasLayout != c.layout {
		return fmt.Sprintf("the bias is added to %s, the convolution makes %s", c.biasLayout, c.layout)
	}
	return ""
}

// refuseInner protects the tensors between the two ends of what is folded: one
// that is fed is not what the convolution computes.
func refuseInner(o *optimizer, c *candidate) string {
	for _, i := range c.inner() {
		if o.end[i] {
			return fmt.Sprintf("%q, which it would change, is an input or output of the signature", o.nodes[i].name)
		}
	}
	if o.fed[graphwire.Edge{Node: c.norm}] {
		return "it is an input of the signature"
	}
	return ""
}

func refuseShared(o *optimizer, c *candidate) string {
	for _, i := range c.inner() {
		if o.uses.data[i] > 1 {
			return fmt.Sprintf("the output of %q is read by others too", o.nodes[i].name)
		}
	}
	return ""
}
