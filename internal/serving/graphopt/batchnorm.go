package graphopt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// candidate is a batch normalisation, and what it would be folded into.
type candidate struct {
	norm, product, bias, conv int32 // nodes; product is of the decomposed form, bias optional, -1 without

	training   bool
	layout     string // data_format of the convolution
	normLayout string
	biasLayout string
	channels   int64

	weights                constant
	mean, variance, beta   constant
	gamma, shift           constant // without elements where there is none
	epsilon                float32
	layoutStated, oneInput bool
}

// inner are the nodes between the weights and the normalisation's output, whose
// values folding changes.
func (c *candidate) inner() []int32 {
	nodes := []int32{c.conv}
	for _, i := range []int32{c.bias, c.product} {
		if i >= 0 {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// constant is a tensor whose value is in the graph.
type constant struct {
	shape  graphwire.Shape
	floats graphwire.Floats
}

// refusal is why a normalisation is left; it is not a failure.
type refusal struct{ guard, reason string }

func (r *refusal) Error() string { return r.reason }

func refuse(guard, format string, a ...any) error {
	return &refusal{guard, fmt.Sprintf(format, a...)}
}

// operands are the inputs of a normalisation, whatever its form.
type operands struct {
	x, gamma, beta, mean, variance graphwire.Edge
	epsilon                        graphwire.Edge // of the decomposed form
	scaled                         bool           // whether there is a gamma
	product                        int32          // x*m of the decomposed form, or -1
}

// normalisation recognises the forms of a batch normalisation by the node whose
// output it is.
func (o *optimizer) normalisation(i int32) (operands, bool) {
	n := &o.nodes[i]
	in := dataInputs(n)
	switch n.op {
	case "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3":
		if len(in) == 5 {
			return operands{x: in[0], gamma: in[1], beta: in[2], mean: in[3], variance: in[4], scaled: true, product: -1}, true
		}
	case "BatchNormWithGlobalNormalization":
		if len(in) == 5 {
			return operands{x: in[0], mean: in[1], variance: in[2], beta: in[3], gamma: in[4], scaled: true, product: -1}, true
		}
	case "Add", "AddV2":
		if len(in) == 2 {
			if ops, ok := o.decomposed(in[0], in[1]); ok {
				return ops, true
			}
			return o.decomposed(in[1], in[0])
		}
	}
	return operands{}, false
}

// decomposed recognises x*m + (beta - mean*m), m = [gamma *] rsqrt(variance +
// epsilon). Products and sums are taken in either order, which changes no bit of
// them. A tensor that is fed is not what its node computes.
func (o *optimizer) decomposed(left, right graphwire.Edge) (ops operands, ok bool) {
	product, difference := o.inputsOf(left, "Mul"), o.inputsOf(right, "Sub")
	if product == nil || difference == nil {
		return operands{}, false
	}
	shift := o.inputsOf(difference[1], "Mul")
	if shift == nil {
		return operands{}, false
	}
	for _, x := range []int{0, 1} {
		for _, mean := range []int{0, 1} {
			m := product[1-x]
			if m != shift[1-mean] {
				continue
			}
			ops = operands{x: product[x], mean: shift[mean], beta: difference[0], product: left.Node}
			root := o.inputsOf(m, "Rsqrt")
			for _, gamma := range []int{0, 1} {
				if scaled := o.inputsOf(m, "Mul"); root == nil && scaled != nil {
					if root = o.inputsOf(scaled[1-gamma], "Rsqrt"); root != nil {
						ops.gamma, ops.scaled = scaled[gamma], true
					}
				}
			}
			if root == nil {
				continue
			}
			sum := o.inputsOf(root[0], "Add", "AddV2")
			if sum == nil {
				continue
			}
			ops.variance, ops.epsilon = sum[0], sum[1]
			if o.isScalar(sum[0]) {
				ops.variance, ops.epsilon = sum[1], sum[0]
			}
			return ops, true
		}
	}
	return operands{}, false
}

// inputsOf are the inputs of the node whose output 0 the edge is, if it is one
// of the operations with as many inputs as that has.
func (o *optimizer) inputsOf(e graphwire.Edge, ops ...string) []graphwire.Edge {
	n := &o.nodes[e.Node]
	if e.Port != 0 || o.fed[e] || !slices.Contains(ops, n.op) {
		return nil
	}
	in := dataInputs(n)
	if want := 2; len(in) != want && (n.op != "Rsqrt" || len(in) != 1) {
		return nil
	}
	return in
}

func dataInputs(n *node) []graphwire.Edge {
	i := slices.IndexFunc(n.inputs, func(e graphwire.Edge) bool { return e.Port == graphwire.ControlPort })
	if i < 0 {
		return n.inputs
	}
	return n.inputs[:i]
}

// controlInputs are the nodes that a node waits for.
func controlInputs(n *node) []graphwire.Edge { return n.inputs[len(dataInputs(n)):] }

func (o *optimizer) isScalar(e graphwire.Edge) bool {
	c, err := o.constant(e, "")
	return err == nil && c.shape.Known && len(c.shape.Dims) == 0
}

// constant finds a float32 tensor in the graph, through Identity nodes that were
// not spliced, and through Reshape and Squeeze, which leave the elements as they
// are.
func (o *optimizer) constant(e graphwire.Edge, what string) (constant, error) {
	var reshaped []graphwire.Shape
	for e.Port == 0 && !o.fed[e] && o.nodes[e.Node].made == nil {
		n := &o.nodes[e.Node]
		if n.op != "Reshape" && n.op != "Squeeze" && n.op != "Identity" || len(n.inputs) == 0 || n.inputs[len(n.inputs)-1].Port == graphwire.ControlPort {
			break
		}
		if n.op != "Identity" && len(reshaped) == 0 {
			shape, err := o.reshaped(n, e.Node)
			if err != nil {
				return constant{}, err
			}
			if !shape.Known {
				break
			}
			reshaped = append(reshaped, shape)
		}
		e = n.inputs[0]
	}
	n := &o.nodes[e.Node]
	switch {
	case n.made != nil && n.op != "Placeholder":
		return constant{}, refuse("", "its %s %q was just folded", what, n.name)
	case e.Port != 0 || n.op != "Const":
		return constant{}, refuse("", "its %s is computed by %s %q", what, n.op, n.name)
	case o.fed[e]:
		return constant{}, refuse("G10", "its %s is an input of the signature", what)
	case len(n.inputs) > 0:
		return constant{}, refuse("", "its %s %q waits for another node", what, n.name)
	}
	a, err := o.g.ReadAttrs(&o.g.Nodes[e.Node])
	if err != nil {
		return constant{}, err
	}
	t, ok, err := a.Tensor("value")
	if err != nil {
		return constant{}, err
	}
	floats, isFloat, err := t.Floats()
	if err != nil {
		return constant{}, err
	}
	if !ok || !isFloat {
		return constant{}, refuse("G5", "its %s is %s, and only float32 is folded", what, t.DType)
	}
	shape := t.Shape
	for _, s := range reshaped {
		if count, ok := s.Elements(); !ok || count != floats.Count {
			return constant{}, refuse("", "its %s has the shape %s before and %s after a Reshape", what, t.Shape, s)
		}
		shape = s
	}
	return constant{shape, floats}, nil
}

// reshaped is the shape that a Reshape or Squeeze gives, unknown if that does not
// follow from constants. A Squeeze of all but the last dimension is the only one
// that exporters write behind a Reshape.
func (o *optimizer) reshaped(n *node, i int32) (graphwire.Shape, error) {
	if n.op == "Squeeze" {
		from := n.inputs[0]
		inner := &o.nodes[from.Node]
		if from.Port != 0 || o.fed[from] || inner.op != "Reshape" || inner.made != nil {
			return graphwire.Shape{}, nil
		}
		shape, err := o.reshaped(inner, from.Node)
		if err != nil || !shape.Known || len(shape.Dims) != 4 {
			return graphwire.Shape{}, err
		}
		a, err := o.g.ReadAttrs(&o.g.Nodes[i])
		if err != nil {
			return graphwire.Shape{}, err
		}
		axes, err := a.Ints("squeeze_dims")
		all := len(axes) == 0 && shape.Dims[3] != 1 // every dimension of 1
		if err != nil || !all && !slices.Equal(axes, []int64{0, 1, 2}) || !slices.Equal(shape.Dims[:3], []int64{1, 1, 1}) {
			return graphwire.Shape{}, err
		}
		return graphwire.ShapeOf(shape.Dims[3]), nil
	}
	if len(n.inputs) != 2 {
		return graphwire.Shape{}, nil
	}
	target := n.inputs[1]
	c := &o.nodes[target.Node]
	if target.Port != 0 || o.fed[target] || c.op != "Const" || c.made != nil {
		return graphwire.Shape{}, nil
	}
	a, err := o.g.ReadAttrs(&o.g.Nodes[target.Node])
	if err != nil {
		return graphwire.Shape{}, err
	}
	t, ok, err := a.Tensor("value")
	if err != nil || !ok {
		return graphwire.Shape{}, err
	}
	dims, ok, err := t.Ints()
	if err != nil || !ok || slices.ContainsFunc(dims, func(d int64) bool { return d < 0 }) {
		return graphwire.Shape{}, err
	}
	return graphwire.ShapeOf(dims...), nil
}

// match finds the convolution before a normalisation and everything that folding
// needs. The error is a [*refusal] where it cannot be folded.
func (o *optimizer) match(i int32, ops operands) (*candidate, error) {
	c := &candidate{norm: i, product: ops.product, bias: -1}
	if err := o.readNorm(c, ops); err != nil {
		return nil, err
	}
	conv := ops.x
	if bias := o.nodes[conv.Node].op; bias == "BiasAdd" || bias == "Add" || bias == "AddV2" {
		if err := o.readBias(c, conv.Node, &conv); err != nil {
			return nil, err
		}
	}
	if err := o.readConv(c, conv); err != nil {
		return nil, err
	}
	for _, v := range []struct {
		what string
		edge graphwire.Edge
		into *constant
		skip bool
	}{
		{"gamma", ops.gamma, &c.gamma, !ops.scaled},
		{"beta", ops.beta, &c.beta, false}, {"mean", ops.mean, &c.mean, false}, {"variance", ops.variance, &c.variance, false},
	} {
		if v.skip || v.what == "gamma" && c.oneInput {
			continue
		}
		var err error
		if *v.into, err = o.constant(v.edge, v.what); err != nil {
			return nil, err
		}
		if err := c.vector(v.what, v.into); err != nil && !c.training {
			return nil, err
		}
	}
	if c.bias >= 0 {
		if err := c.vector("bias", &c.shift); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// vector wants one value a channel. Dimensions of 1 before that are no matter
// where a tensor of four dimensions is broadcast.
func (c *candidate) vector(what string, v *constant) error {
	dims := v.shape.Dims
	if rank := len(dims); rank == 0 || rank > 4 || dims[rank-1] != c.channels || v.floats.Count != c.channels {
		return refuse("", "its %s has the shape %s, the convolution has %d channels", what, v.shape, c.channels)
	}
	return nil
}

// readNorm reads the attributes of the normalisation.
func (o *optimizer) readNorm(c *candidate, ops operands) error {
	n := &o.nodes[c.norm]
	if c.product >= 0 { // broadcasts along the last dimension
		c.normLayout = "NHWC"
		eps, err := o.constant(ops.epsilon, "epsilon")
		if err != nil {
			return err
		}
		if !eps.shape.Known || len(eps.shape.Dims) != 0 {
			return refuse("", "its epsilon has the shape %s", eps.shape)
		}
		values, err := eps.floats.All()
		if err != nil {
			return err
		}
		c.epsilon = values[0]
		return nil
	}
	a, err := o.g.ReadAttrs(&o.g.Nodes[c.norm])
	if err != nil {
		return err
	}
	if n.op == "BatchNormWithGlobalNormalization" {
		c.normLayout, c.epsilon = "NHWC", a.Float("variance_epsilon", 0)
		c.oneInput = !a.Boolean("scale_after_normalization", true) // gamma does nothing
		return nil
	}
	c.training = a.Boolean("is_training", true)
	c.epsilon = a.Float("epsilon", 1e-4)
	c.normLayout, _, err = layout(&a)
	return err
}

func layout(a *graphwire.Attrs) (format string, stated bool, err error) {
	format, err = a.Text("data_format")
	if format == "" {
		return "NHWC", false, err
	}
	return format, true, err
}

// readBias reads what is added to the convolution, and finds the convolution on
// either side.
func (o *optimizer) readBias(c *candidate, i int32, conv *graphwire.Edge) error {
	n := &o.nodes[i]
	in := dataInputs(n)
	if len(in) != 2 || conv.Port != 0 {
		return refuse("", "%s %q has %d inputs", n.op, n.name, len(in))
	}
	c.bias, c.biasLayout = i, "NHWC" // Add broadcasts along the last dimension
	side := 0
	if n.op != "BiasAdd" && !isConv(o.nodes[in[0].Node].op) {
		side = 1
	}
	*conv = in[side]
	if !isConv(o.nodes[conv.Node].op) {
		return nil // readConv says so
	}
	var err error
	if c.shift, err = o.constant(in[1-side], "bias"); err != nil || n.op != "BiasAdd" || n.made != nil {
		return err
	}
	a, err := o.g.ReadAttrs(&o.g.Nodes[i])
	if err == nil {
		c.biasLayout, _, err = layout(&a)
	}
	return err
}

func isConv(op string) bool { return op == "Conv2D" || op == "DepthwiseConv2dNative" }

func (o *optimizer) readConv(c *candidate, e graphwire.Edge) error {
	n := &o.nodes[e.Node]
	if !isConv(n.op) || e.Port != 0 {
		return refuse("", "it normalises the output of %s %q, which is no convolution", n.op, n.name)
	}
	if in := dataInputs(n); len(in) != 2 {
		return refuse("", "convolution %q has %d inputs", n.name, len(in))
	}
	c.conv = e.Node
	a, err := o.g.ReadAttrs(&o.g.Nodes[e.Node])
	if err != nil {
		return err
	}
	if d, _ := a.DType("T"); d != graphwire.Float32 {
		return refuse("G5", "convolution %q computes in %s, and only float32 is folded", n.name, d)
	}
	if c.layout, c.layoutStated, err = layout(&a); err != nil {
		return err
	}
	if c.weights, err = o.constant(n.inputs[1], "convolution's filter"); err != nil {
		return err
	}
	dims := c.weights.shape.Dims
	if len(dims) != 4 || c.weights.floats.Count == 0 {
		return refuse("", "the filter of %q has the shape %s", n.name, c.weights.shape)
	}
	c.channels = dims[3]
	if n.op == "DepthwiseConv2dNative" {
		c.channels *= dims[2]
	}
	return nil
}

// isNorm tells the operations whose form needs no looking at.
func isNorm(op string) bool {
	return strings.HasPrefix(op, "FusedBatchNorm") && !strings.Contains(op, "Grad") || op == "BatchNormWithGlobalNormalization"
}
