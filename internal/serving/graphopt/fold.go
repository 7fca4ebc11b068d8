package graphopt

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// fold folds batch normalisations into the convolutions before them.
func (o *optimizer) fold(p *Pass) error {
	if o.refuseGraph(p) {
		return nil
	}
	// Folding makes no tensor have more readers, so one count serves all.
	o.countUses()
	for i := range o.g.Nodes {
		n := &o.nodes[i]
		if !n.kept || n.made != nil {
			continue
		}
		ops, ok := o.normalisation(int32(i)) // Below the limit of the index.
		if !ok {
			if isNorm(n.op) {
				p.leave(n, "", "it does not have the inputs of a normalisation")
			}
			continue
		}
		err := o.foldOne(int32(i), ops) // Below the limit of the index.
		var refused *refusal
		switch {
		case errors.As(err, &refused):
			p.leave(n, refused.guard, refused.reason)
		case err != nil:
			return err
		default:
			p.Changed++
		}
	}
	return nil
}

// maxSplat is how many bytes a filter may grow by when it is written out that
// was one value for all elements.
const maxSplat = 16 << 20

func (o *optimizer) foldOne(i int32, ops operands) error {
	c, err := o.match(i, ops)
	if err != nil {
		return err
	}
	for _, guard := range o.guards.fold {
		if reason := guard.refuse(o, c); reason != "" {
			return refuse(guard.id, "%s", reason)
		}
	}
	size := 4 * c.weights.floats.Count
	if size-4*c.weights.floats.Stored > maxSplat {
		return refuse("", "the filter is one value, and would take %d bytes", size)
	}
	if o.budget -= size; o.budget < 0 {
		return refuse("G3", "so many convolutions share filters that copies of them would outgrow the graph")
	}
	f := &fold{weights: c.weights, mean: c.mean, variance: c.variance, beta: c.beta, gamma: c.gamma, shift: c.shift, epsilon: c.epsilon}
	offset, err := f.check()
	if err != nil {
		return err
	}
	return o.rewrite(c, f, offset)
}

// rewrite makes the convolution read the folded weights, and a BiasAdd of the
// normalisation.
func (o *optimizer) rewrite(c *candidate, f *fold, offset []float32) error {
	device, err := o.g.Device(&o.g.Nodes[c.norm])
	if err != nil {
		return err
	}
	conv, norm := &o.nodes[c.conv], &o.nodes[c.norm]
	waits := slices.Clone(controlInputs(norm))
	for _, i := range c.inner()[1:] {
		for _, e := range controlInputs(&o.nodes[i]) {
			if !slices.Contains(waits, e) {
				waits = append(waits, e)
			}
		}
	}
	attrs := appendAttr(nil, "T", typeValue(graphwire.Float32))
	if c.layoutStated {
		attrs = appendAttr(attrs, "data_format", graphwire.AppendString(nil, graphwire.AttrBytes, c.layout))
	}
	bias := &made{attrs: attrs, device: device}
	convName := conv.name
	weights := o.add(c.conv, convName+"_weights", "Const", &made{attrs: appendAttr(nil, "dtype", typeValue(graphwire.Float32)), fold: f})
	shift := o.add(c.norm, convName+"_bn_offset", "Const", &made{attrs: vectorConst(offset)})
	conv, norm = &o.nodes[c.conv], &o.nodes[c.norm] // adding may have moved them
	conv.inputs = slices.Clone(conv.inputs)
	conv.inputs[1] = graphwire.Edge{Node: weights}
	norm.op, norm.made = "BiasAdd", bias
	norm.inputs = append([]graphwire.Edge{{Node: c.conv}, {Node: shift}}, waits...)
	return nil
}

// fold computes folded weights when they are written.
type fold struct {
	weights                            constant
	mean, variance, beta, gamma, shift constant // gamma and shift without shape where there is none
	epsilon                            float32
}

// vectors are the factor of each channel and what is added to it.
func (f *fold) vectors() (scale []float64, offset []float32, err error) {
	var values [5][]float32
	for i, c := range []constant{f.mean, f.variance, f.beta, f.gamma, f.shift} {
		if c.shape.Known {
			if values[i], err = c.floats.All(); err != nil {
				return nil, nil, err
			}
		}
	}
	mean, variance, beta, gamma, shift := values[0], values[1], values[2], values[3], values[4]
	for i, v := range values {
		if len(v) != len(mean) && (i < 3 || v != nil) || len(mean) == 0 {
			return nil, nil, refuse("", "its statistics have %d and %d channels", len(mean), len(v))
		}
	}
	scale, offset = make([]float64, len(mean)), make([]float32, len(mean))
	for c := range mean {
		v := variance[c] + f.epsilon
		if !(v > 0) { // also NaN
			return nil, nil, refuse("G9", "its variance + epsilon is %g in channel %d", v, c)
		}
		scale[c] = 1 / math.Sqrt(float64(v))
		if gamma != nil {
			scale[c] *= float64(gamma[c])
		}
		m := mean[c]
		if shift != nil {
			m -= shift[c]
		}
		product := float64(-m) * scale[c]
		offset[c] = float32(float64(product) + float64(beta[c])) // the conversion keeps the two apart
		if !finite(float64(offset[c])) || !finite(scale[c]) {
			return nil, nil, refuse("G9", "the result is not finite in channel %d", c)
		}
	}
	return scale, offset, nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// check makes sure that everything is finite. Weights are as a rule so far from
// the limit that their largest one says enough.
func (f *fold) check() (offset []float32, err error) {
	scale, offset, err := f.vectors()
	if err != nil {
		return nil, err
	}
	factor := 0.0
	for _, s := range scale {
		factor = max(factor, math.Abs(s))
	}
	largest, err := f.largest()
	if err != nil {
		return nil, err
	}
	if bits := math.Float32bits(float32(float64(largest) * factor)); bits&exponent != exponent {
		return offset, nil
	}
	return offset, f.stream(scale, func([]byte) error { return nil })
}

// largest is the largest absolute value of the weights; not finite if one is not.
func (f *fold) largest() (float32, error) {
	count := f.weights.floats.Count
	buf := make([]byte, min(4*count, copyBuffer))
	largest := uint32(0) // positive floats are in the order of their bits
	for first := int64(0); first < count; first += int64(len(buf) / 4) {
		buf = buf[:min(int64(len(buf)), 4*(count-first))]
		if err := f.weights.floats.ReadAt(buf, first); err != nil {
			return 0, err
		}
		for b := buf; len(b) >= 8; b = b[8:] {
			two := binary.LittleEndian.Uint64(b)
			largest = max(largest, uint32(two)&^(1<<31), uint32(two>>32)&^(1<<31)) // The two halves.
		}
		if len(buf)%8 != 0 {
			largest = max(largest, binary.LittleEndian.Uint32(buf[len(buf)-4:])&^(1<<31))
		}
	}
	return math.Float32frombits(largest), nil
}

// size is that of the folded weights in bytes.
func (f *fold) size() int64 { return 4 * f.weights.floats.Count }

// writeTo writes the folded weights as tensor_content.
func (f *fold) writeTo(dst io.Writer) error {
	scale, _, err := f.vectors()
	if err != nil {
		return err
	}
	return f.stream(scale, func(b []byte) error {
		_, err := dst.Write(b)
		return err
	})
}

// exponent are the bits that are all set in what is not finite.
const exponent = 0x7f800000

// stream multiplies the weights piece by piece. The channel is the last index of
// a Conv2D's filter (height, width, input, output), and the last two of a
// DepthwiseConv2dNative's: in both, elements go through the channels in turn.
func (f *fold) stream(scale []float64, emit func([]byte) error) error {
	count := f.weights.floats.Count
	buf := make([]byte, min(4*count, copyBuffer))
	channel := 0
	for first := int64(0); first < count; first += int64(len(buf) / 4) {
		buf = buf[:min(int64(len(buf)), 4*(count-first))]
		if err := f.weights.floats.ReadAt(buf, first); err != nil {
			return err
		}
		bad := false
		for b := buf; len(b) >= 4; b = b[4:] {
			w := math.Float32frombits(binary.LittleEndian.Uint32(b))
			bits := math.Float32bits(float32(float64(w) * scale[channel]))
			bad = bad || bits&exponent == exponent
			binary.LittleEndian.PutUint32(b, bits)
			if channel++; channel == len(scale) {
				channel = 0
			}
		}
		if bad {
			return refuse("G9", "folded weights are not finite")
		}
		if err := emit(buf); err != nil {
			return err
		}
	}
	return nil
}

func typeValue(d graphwire.DataType) []byte {
	return graphwire.AppendVarint(nil, graphwire.AttrType, uint64(d)) // Not negative.
}

// appendAttr appends an attribute to the fields of a NodeDef.
func appendAttr(b []byte, key string, value []byte) []byte {
	entry := graphwire.AppendBytes(graphwire.AppendString(nil, graphwire.MapKey, key), graphwire.MapValue, value)
	return graphwire.AppendBytes(b, graphwire.NodeAttr, entry)
}

// tensorHead is a TensorProto but for its elements.
func tensorHead(shape graphwire.Shape) []byte {
	b := graphwire.AppendVarint(nil, graphwire.TensorDType, uint64(graphwire.Float32))
	return graphwire.AppendBytes(b, graphwire.TensorShape, graphwire.EncodeShape(shape))
}

func vectorConst(values []float32) []byte {
	content := make([]byte, 0, 4*len(values))
	for _, v := range values {
		content = binary.LittleEndian.AppendUint32(content, math.Float32bits(v))
	}
	tensor := graphwire.AppendBytes(tensorHead(graphwire.ShapeOf(int64(len(values)))), graphwire.TensorContent, content)
	attrs := appendAttr(nil, "dtype", typeValue(graphwire.Float32))
	return appendAttr(attrs, "value", graphwire.AppendBytes(nil, graphwire.AttrTensor, tensor))
}

// head is the attribute "value" up to the folded weights, which end the node.
func (f *fold) head() []byte {
	size := f.size()
	open := func(b []byte, num protowire.Number, inner []byte) []byte {
		b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(int64(len(inner))+size)) // Not negative.
		return append(b, inner...)
	}
	content := open(tensorHead(f.weights.shape), graphwire.TensorContent, nil)
	value := open(nil, graphwire.AttrTensor, content)
	entry := open(graphwire.AppendString(nil, graphwire.MapKey, "value"), graphwire.MapValue, value)
	return open(nil, graphwire.NodeAttr, entry)
}
