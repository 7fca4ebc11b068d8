package savedmodel

import (
	"math"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// tensorType is what is known of a tensor before it is computed.
type tensorType struct {
	DType DataType // Invalid when it does not follow from the graph
	Shape Shape
}

// inference derives types of tensors from the graph. What it says is what
// TensorFlow's own shape inference says, or less, never something else.
type inference struct {
	g     *graphwire.Graph
	memo  map[graphwire.Edge]tensorType
	depth int
}

// maxInferDepth bounds how far back a shape is followed.
const maxInferDepth = 4096

func newInference(g *graphwire.Graph) *inference {
	return &inference{g: g, memo: map[graphwire.Edge]tensorType{}}
}

// of is the type of one tensor. The error is of reading the graph, or says that
// the node has no such output.
func (in *inference) of(e graphwire.Edge) (tensorType, error) {
	if t, ok := in.memo[e]; ok {
		return t, nil
	}
	if e.Node < 0 || in.depth >= maxInferDepth {
		return tensorType{}, nil
	}
	in.memo[e] = tensorType{} // of a loop, until it is known otherwise
	in.depth++
	defer func() { in.depth-- }()
	n := &in.g.Nodes[e.Node]
	a, err := in.g.ReadAttrs(n)
	if err != nil {
		return tensorType{}, err
	}
	var t tensorType
	if t.DType, err = outputDType(n, &a, e.Port); err != nil {
		return tensorType{}, err
	}
	if t.Shape, err = in.shapeOf(n, &a, e.Port); err != nil {
		return tensorType{}, err
	}
	in.memo[e] = t
	return t, nil
}

// input is the type of a node's i-th data input, or nothing when it has none.
func (in *inference) input(n *graphwire.Node, i int) (tensorType, error) {
	if i >= len(n.Inputs) || n.Inputs[i].Port == graphwire.ControlPort {
		return tensorType{}, nil
	}
	return in.of(n.Inputs[i])
}

// shapeRule derives the shape of a node's output 0, or of all its outputs where
// they are alike. Unknown is always a right answer.
type shapeRule func(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error)

// unknownValue is an element of a shape vector that is computed at run time.
const unknownValue = math.MinInt64

// legacyProducer is the last producer version whose placeholders wrote an
// unknown shape as that of a scalar (PlaceholderShapeFn in
// tensorflow/core/ops/array_ops.cc).
const legacyProducer = 21

var shapeRules map[string]shapeRule

func init() { // A literal would refer to itself through the rules.
	shapeRules = map[string]shapeRule{
		"Placeholder": placeholderShape, "PlaceholderV2": placeholderShape, "PlaceholderWithDefault": placeholderShape,
		"Const": constShape, "HostConst": constShape,
		"MatMul": matMulShape, "Conv2D": conv2DShape, "DepthwiseConv2dNative": conv2DShape,
		"MaxPool": poolShape, "AvgPool": poolShape,
		"Reshape": reshapeShape, "Squeeze": squeezeShape, "ExpandDims": expandDimsShape, "Transpose": transposeShape,
		"ConcatV2": concatShape, "Pack": packShape, "Pad": padShape, "PadV2": padShape, "MirrorPad": padShape,
		"ArgMax": argMaxShape, "ArgMin": argMaxShape, "Shape": shapeShape, "ResizeBilinear": resizeShape, "ResizeNearestNeighbor": resizeShape,
		"Fill": fillShape,
	}
	set := func(rule shapeRule, ops string) {
		for op := range strings.FieldsSeq(ops) {
			shapeRules[op] = rule
		}
	}
	set(sameShape, `Identity StopGradient PreventGradient Snapshot CheckNumerics Relu Relu6 Elu Selu LeakyRelu Softplus Softsign
		Softmax LogSoftmax Sigmoid Tanh Erf Abs Neg Sign Square Sqrt Rsqrt Exp Log Log1p Floor Ceil Round Rint Reciprocal
		BiasAdd Cast FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 BatchNormWithGlobalNormalization LRN ZerosLike OnesLike ClipByValue LogicalNot Enter Exit`)
	set(broadcastShape, `Add AddV2 Sub Mul Div DivNoNan RealDiv FloorDiv FloorMod Pow Maximum Minimum SquaredDifference
		Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr`)
	set(reduceShape, `Mean Sum Prod Max Min All Any`)
}

// shapeOf is the shape of one output of a node.
func (in *inference) shapeOf(n *graphwire.Node, a *graphwire.Attrs, port int32) (Shape, error) {
	if s, err := a.ShapeAt("_output_shapes", port); err != nil || s.Known {
		return s, err // TensorFlow wrote it down itself
	}
	rule := shapeRules[n.Op]
	if rule == nil || port != 0 {
		return Shape{}, nil
	}
	s, err := rule(in, n, a)
	if len(s.Dims) > graphwire.MaxRank {
		return Shape{}, err
	}
	return s, err
}

func placeholderShape(in *inference, _ *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	s, err := a.Shape("shape")
	if s.Known && len(s.Dims) == 0 && in.g.Producer <= legacyProducer {
		return Shape{}, err
	}
	return s, err
}

func constShape(_ *inference, _ *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	t, _, err := a.Tensor("value")
	return t.Shape, err
}

func sameShape(in *inference, n *graphwire.Node, _ *graphwire.Attrs) (Shape, error) {
	t, err := in.input(n, 0)
	return t.Shape, err
}

// inputs01 are the shapes of the first two inputs.
func (in *inference) inputs01(n *graphwire.Node) (x, y Shape, err error) {
	s, err := in.input(n, 0)
	if err != nil {
		return Shape{}, Shape{}, err
	}
	t, err := in.input(n, 1)
	return s.Shape, t.Shape, err
}

func broadcastShape(in *inference, n *graphwire.Node, _ *graphwire.Attrs) (Shape, error) {
	x, y, err := in.inputs01(n)
	if err != nil || !x.Known || !y.Known {
		return Shape{}, err
	}
	if len(x.Dims) < len(y.Dims) {
		x, y = y, x
	}
	dims := slices.Clone(x.Dims)
	for i, d := range y.Dims {
		j := len(x.Dims) - len(y.Dims) + i
		switch {
		case dims[j] == 1:
			dims[j] = d
		case d == 1 || d == dims[j]:
		case d == -1: // equal, or broadcast from 1
		case dims[j] == -1:
			dims[j] = d
		default:
			return Shape{}, nil // not a legal graph
		}
	}
	return ShapeOf(dims...), nil
}

func matMulShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, y, err := in.inputs01(n)
	if err != nil {
		return Shape{}, err
	}
	dim := func(s Shape, first bool) int64 {
		if !s.Known || len(s.Dims) != 2 {
			return -1
		}
		if first {
			return s.Dims[0]
		}
		return s.Dims[1]
	}
	return ShapeOf(dim(x, !a.Boolean("transpose_a", false)), dim(y, a.Boolean("transpose_b", false))), nil
}

// spatial is where the data format keeps height, width and channels.
func spatial(a *graphwire.Attrs) (height, width, channel int, ok bool, err error) {
	format, err := a.Text("data_format")
	switch format {
	case "", "NHWC":
		return 1, 2, 3, true, err
	case "NCHW":
		return 2, 3, 1, true, err
	}
	return 0, 0, 0, false, err
}

func conv2DShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, filter, err := in.inputs01(n)
	h, w, c, ok, ferr := spatial(a)
	if err != nil || ferr != nil || !ok {
		return Shape{}, firstError(err, ferr)
	}
	if !filter.Known || len(filter.Dims) != 4 {
		filter = ShapeOf(-1, -1, -1, -1)
	}
	channels := filter.Dims[3]
	if n.Op == "DepthwiseConv2dNative" && channels >= 0 {
		if channels *= filter.Dims[2]; filter.Dims[2] < 0 {
			channels = -1
		}
	}
	s, err := slideShape(x, a, [2]int{h, w}, [2]int64{filter.Dims[0], filter.Dims[1]})
	if s.Known {
		s.Dims[c] = channels
	}
	return s, err
}

func poolShape(in *inference, n *graphwire.Node, a *graphwire.Attrs) (Shape, error) {
	x, err := sameShape(in, n, a)
	h, w, _, ok, ferr := spatial(a)
	ksize, kerr := a.Ints("ksize")
	if err := firstError(err, ferr, kerr); err != nil || !ok || len(ksize) != 4 {
		return Shape{}, err
	}
	for i, k := range ksize {
		if i != h && i != w && k != 1 {
			return Shape{}, nil
		}
	}
	return slideShape(x, a, [2]int{h, w}, [2]int64{ksize[h], ksize[w]})
}

// slideShape is the shape of a window sliding over the two spatial dimensions.
// The rank is 4 even where nothing else is known.
func slideShape(x Shape, a *graphwire.Attrs, at [2]int, size [2]int64) (Shape, error) {
	strides, err := a.Ints("strides")
	if err != nil || len(strides) != 4 {
		return Shape{}, err
	}
	dilations, err := a.Ints("dilations")
	if err != nil {
		return Shape{}, err
	}
	padding, err := a.Text("padding")
	if err != nil {
		return Shape{}, err
	}
	explicit, err := a.Ints("explicit_paddings")
	if err != nil {
		return Shape{}, err
	}
	if !x.Known {
		return ShapeOf(-1, -1, -1, -1), nil
	}
	if len(x.Dims) != 4 {
		return Shape{}, nil
	}
	dims := slices.Clone(x.Dims)
	for i, d := range at {
		k := size[i]
		if len(dilations) == 4 && k > 0 && dilations[d] > 0 && dilations[d] < graphwire.MaxElements && k < graphwire.MaxElements {
			k = (k-1)*dilations[d] + 1
		}
		dims[d] = slide(dims[d], k, strides[d], padding, explicit, d)
	}
	return ShapeOf(dims...), nil
}

// slide is the number of positions of a window of k in d elements, or -1.
func slide(d, k, stride int64, padding string, explicit []int64, axis int) int64 {
	if d < 0 || stride <= 0 || d >= graphwire.MaxElements {
		return -1
	}
	switch padding {
	case "SAME":
		return (d + stride - 1) / stride
	case "EXPLICIT":
		if len(explicit) != 8 || explicit[2*axis] < 0 || explicit[2*axis+1] < 0 ||
			explicit[2*axis] >= graphwire.MaxElements || explicit[2*axis+1] >= graphwire.MaxElements {
			return -1
		}
		d += explicit[2*axis] + explicit[2*axis+1]
	case "VALID":
	default:
		return -1
	}
	if k <= 0 || k > d {
		return -1
	}
	return (d-k)/stride + 1
}

// vector is the value of a node's small integer input as far as it is constant;
// what is computed at run time is unknownValue.
func (in *inference) vector(n *graphwire.Node, i int) ([]int64, bool, error) {
	if i >= len(n.Inputs) {
		return nil, false, nil
	}
	e := n.Inputs[i]
	for range maxInferDepth { // Constants are often read through Identity.
		if e.Node < 0 || e.Port != 0 {
			return nil, false, nil
		}
		src := &in.g.Nodes[e.Node]
		switch {
		case src.Op == "Const":
			a, err := in.g.ReadAttrs(src)
			if err != nil {
				return nil, false, err
			}
			t, ok, err := a.Tensor("value")
			if err != nil || !ok {
				return nil, false, err
			}
			return t.Ints()
		case src.Op == "Identity" && len(src.Inputs) > 0:
			e = src.Inputs[0]
		case src.Op == "Pack" && in.depth < maxInferDepth:
			return in.packed(src)
		default:
			t, err := in.of(e)
			if err != nil || !t.Shape.Known || len(t.Shape.Dims) != 1 || t.Shape.Dims[0] < 0 || t.Shape.Dims[0] > graphwire.MaxRank {
				return nil, false, err
			}
			return slices.Repeat([]int64{unknownValue}, int(t.Shape.Dims[0])), true, nil
		}
	}
	return nil, false, nil
}

// packed is the vector that Pack makes of scalars.
func (in *inference) packed(n *graphwire.Node) ([]int64, bool, error) {
	if len(n.Inputs) > graphwire.MaxRank {
		return nil, false, nil
	}
	in.depth++
	defer func() { in.depth-- }()
	var values []int64
	for i, e := range n.Inputs {
		if e.Port == graphwire.ControlPort {
			continue
		}
		v := int64(unknownValue)
		if e.Node >= 0 && in.g.Nodes[e.Node].Op == "Const" {
			one, ok, err := in.vector(n, i)
			if err != nil {
				return nil, false, err
			}
			if ok && len(one) == 1 {
				v = one[0]
			}
		}
		values = append(values, v)
	}
	return values, true, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
