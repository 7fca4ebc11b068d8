package graphopt

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

// The tests hold graphs before and after against each other with an evaluator of
// their own, in float64, that reads them with the ordinary protocol buffer
// library and TensorFlow's descriptors.

type array struct {
	shape []int
	data  []float64
}

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

type evalNode struct {
	name, op string
	inputs   []string
	attrs    protoreflect.Map
}

type evaluator struct {
	nodes map[string]evalNode
	memo  map[string][]array
	feeds map[string]array // by node:port
}

func newEvaluator(tb graphtest.TB, graph []byte, feeds map[string]array) *evaluator {
	tb.Helper()
	e := &evaluator{nodes: map[string]evalNode{}, memo: map[string][]array{}, feeds: feeds}
	list := graphtest.Get(graphtest.Parse(tb, "tensorflow.GraphDef", graph), "node").List()
	for i := range list.Len() {
		m := list.Get(i).Message()
		n := evalNode{name: graphtest.Get(m, "name").String(), op: graphtest.Get(m, "op").String(), attrs: graphtest.Get(m, "attr").Map()}
		inputs := graphtest.Get(m, "input").List()
		for j := range inputs.Len() {
			n.inputs = append(n.inputs, inputs.Get(j).String())
		}
		if _, ok := e.nodes[n.name]; ok {
			tb.Fatalf("two nodes are called %q", n.name)
		}
		e.nodes[n.name] = n
	}
	return e
}

func (n *evalNode) attr(key string) protoreflect.Message {
	return n.attrs.Get(protoreflect.ValueOfString(key).MapKey()).Message()
}

func (n *evalNode) has(key string) bool { return n.attrs.Has(protoreflect.ValueOfString(key).MapKey()) }

func (n *evalNode) layout() string {
	if !n.has("data_format") {
		return "NHWC"
	}
	return string(graphtest.Get(n.attr("data_format"), "s").Bytes())
}

// run computes a tensor, "node" or "node:port".
func (e *evaluator) run(tensor string) (array, error) {
	name, port := tensor, 0
	if i := strings.LastIndexByte(tensor, ':'); i >= 0 {
		name = tensor[:i]
		port, _ = strconv.Atoi(tensor[i+1:])
	}
	if a, ok := e.feeds[name+":"+strconv.Itoa(port)]; ok {
		return a, nil
	}
	outputs, ok := e.memo[name]
	if !ok {
		n, known := e.nodes[name]
		if !known {
			return array{}, fmt.Errorf("no node %q", name)
		}
		var in []array
		for _, s := range n.inputs {
			if strings.HasPrefix(s, "^") {
				if _, ok := e.nodes[s[1:]]; !ok {
					return array{}, fmt.Errorf("no node %q", s)
				}
				continue
			}
			a, err := e.run(s)
			if err != nil {
				return array{}, err
			}
			in = append(in, a)
		}
		var err error
		if outputs, err = compute(&n, in); err != nil {
			return array{}, fmt.Errorf("%s %q: %w", n.op, n.name, err)
		}
		e.memo[name] = outputs
	}
	if port >= len(outputs) {
		return array{}, fmt.Errorf("%q has no output %d", name, port)
	}
	return outputs[port], nil
}

func compute(n *evalNode, in []array) ([]array, error) {
	one := func(a array, err error) ([]array, error) { return []array{a}, err }
	switch n.op {
	case "Const":
		return one(constantOf(graphtest.Get(n.attr("value"), "tensor").Message()))
	case "Identity", "CheckNumerics":
		return in[:1], nil
	case "Relu":
		return one(apply(in[0], func(x float64) float64 { return max(x, 0) }), nil)
	case "Rsqrt":
		return one(apply(in[0], func(x float64) float64 { return 1 / math.Sqrt(x) }), nil)
	case "Add", "AddV2":
		return one(broadcast(in[0], in[1], func(x, y float64) float64 { return x + y }))
	case "Sub":
		return one(broadcast(in[0], in[1], func(x, y float64) float64 { return x - y }))
	case "Mul":
		return one(broadcast(in[0], in[1], func(x, y float64) float64 { return x * y }))
	case "BiasAdd":
		return one(perChannel(in[0], n.layout(), func(x float64, c int) float64 { return x + in[1].data[c] }))
	case "Conv2D", "DepthwiseConv2dNative":
		return one(convolve(n, in[0], in[1]))
	case "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3":
		return fusedNorm(n, in)
	case "BatchNormWithGlobalNormalization":
		eps := float64(float32(graphtest.Get(n.attr("variance_epsilon"), "f").Float()))
		scaled := graphtest.Get(n.attr("scale_after_normalization"), "b").Bool()
		return one(perChannel(in[0], "NHWC", func(x float64, c int) float64 {
			s := 1 / math.Sqrt(in[2].data[c]+eps)
			if scaled {
				s *= in[4].data[c]
			}
			return (x-in[1].data[c])*s + in[3].data[c]
		}))
	}
	return nil, fmt.Errorf("the evaluator does not know it")
}

func constantOf(t protoreflect.Message) (array, error) {
	a := array{}
	dims := graphtest.Get(t, "tensor_shape", "dim").List()
	for i := range dims.Len() {
		a.shape = append(a.shape, int(graphtest.Get(dims.Get(i).Message(), "size").Int()))
	}
	a.data = make([]float64, size(a.shape))
	content := graphtest.Get(t, "tensor_content").Bytes()
	dtype := graphtest.Get(t, "dtype").Enum()
	list := graphtest.Get(t, "float_val").List()
	for i := range a.data {
		switch {
		case len(content) > 0 && dtype == 2:
			a.data[i] = math.Float64frombits(binary.LittleEndian.Uint64(content[8*i:]))
		case len(content) > 0:
			a.data[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(content[4*i:])))
		case list.Len() > 0:
			a.data[i] = list.Get(min(i, list.Len()-1)).Float()
		}
	}
	return a, nil
}

func apply(a array, f func(float64) float64) array {
	b := array{a.shape, slices.Clone(a.data)}
	for i, x := range b.data {
		b.data[i] = f(x)
	}
	return b
}

// broadcast lets dimensions of 1 and missing leading ones fit any other.
func broadcast(a, b array, f func(x, y float64) float64) (array, error) {
	rank := max(len(a.shape), len(b.shape))
	dim := func(s []int, i int) int {
		if j := i - rank + len(s); j >= 0 {
			return s[j]
		}
		return 1
	}
	out := array{shape: make([]int, rank)}
	for i := range rank {
		x, y := dim(a.shape, i), dim(b.shape, i)
		if x != y && x != 1 && y != 1 {
			return array{}, fmt.Errorf("shapes %v and %v do not fit", a.shape, b.shape)
		}
		out.shape[i] = max(x, y)
	}
	out.data = make([]float64, size(out.shape))
	for i := range out.data {
		ia, ib, rest, stepA, stepB := 0, 0, i, 1, 1
		for d := rank - 1; d >= 0; d-- {
			at := rest % out.shape[d]
			rest /= out.shape[d]
			x, y := dim(a.shape, d), dim(b.shape, d)
			ia, ib = ia+at%x*stepA, ib+at%y*stepB
			stepA, stepB = stepA*x, stepB*y
		}
		out.data[i] = f(a.data[ia], b.data[ib])
	}
	return out, nil
}

func perChannel(a array, layout string, f func(x float64, c int) float64) (array, error) {
	at := len(a.shape) - 1
	if layout == "NCHW" {
		at = 1
	}
	inner := size(a.shape[at+1:])
	b := array{a.shape, slices.Clone(a.data)}
	for i, x := range b.data {
		b.data[i] = f(x, i/inner%a.shape[at])
	}
	return b, nil
}

// convolve is of stride 1, with SAME padding.
func convolve(n *evalNode, x, w array) (array, error) {
	nchw := n.layout() == "NCHW"
	h, width, c := 1, 2, 3
	if nchw {
		h, width, c = 2, 3, 1
	}
	index := func(shape []int, b, i, j, k int) int {
		if nchw {
			return ((b*shape[1]+k)*shape[2]+i)*shape[3] + j
		}
		return ((b*shape[1]+i)*shape[2]+j)*shape[3] + k
	}
	kh, kw, in, outs := w.shape[0], w.shape[1], w.shape[2], w.shape[3]
	if x.shape[c] != in {
		return array{}, fmt.Errorf("%d channels for a filter %v", x.shape[c], w.shape)
	}
	depthwise := n.op != "Conv2D"
	channels := outs
	if depthwise {
		channels = in * outs
	}
	y := array{shape: slices.Clone(x.shape)}
	y.shape[c] = channels
	y.data = make([]float64, size(y.shape))
	for b := range x.shape[0] {
		for i := range x.shape[h] {
			for j := range x.shape[width] {
				for di := range kh {
					for dj := range kw {
						si, sj := i+di-(kh-1)/2, j+dj-(kw-1)/2
						if si < 0 || sj < 0 || si >= x.shape[h] || sj >= x.shape[width] {
							continue
						}
						for k := range in {
							v := x.data[index(x.shape, b, si, sj, k)]
							for o := range outs {
								out := o
								if depthwise {
									out = k*outs + o
								}
								y.data[index(y.shape, b, i, j, out)] += v * w.data[((di*kw+dj)*in+k)*outs+o]
							}
						}
					}
				}
			}
		}
	}
	return y, nil
}

func fusedNorm(n *evalNode, in []array) ([]array, error) {
	eps := float64(float32(1e-4))
	if n.has("epsilon") {
		eps = float64(float32(graphtest.Get(n.attr("epsilon"), "f").Float()))
	}
	mean, variance := in[3], in[4]
	if !n.has("is_training") || graphtest.Get(n.attr("is_training"), "b").Bool() {
		channels := len(in[1].data)
		mean = array{[]int{channels}, make([]float64, channels)}
		variance = array{[]int{channels}, make([]float64, channels)}
		count := float64(len(in[0].data) / channels)
		_, _ = perChannel(in[0], n.layout(), func(x float64, c int) float64 { mean.data[c] += x / count; return x })
		_, _ = perChannel(in[0], n.layout(), func(x float64, c int) float64 {
			variance.data[c] += (x - mean.data[c]) * (x - mean.data[c]) / count
			return x
		})
	}
	y, err := perChannel(in[0], n.layout(), func(x float64, c int) float64 {
		return (x-mean.data[c])/math.Sqrt(variance.data[c]+eps)*in[1].data[c] + in[2].data[c]
	})
	return []array{y, mean, variance, mean, variance}, err
}

// difference is the largest absolute one over the largest absolute value.
func difference(a, b array) float64 {
	if !slices.Equal(a.shape, b.shape) {
		return math.Inf(1)
	}
	diff, scale := 0.0, 1e-30
	for i := range a.data {
		switch {
		case math.IsNaN(a.data[i]) != math.IsNaN(b.data[i]):
			return math.Inf(1)
		case a.data[i] == b.data[i] || math.IsNaN(a.data[i]):
		default:
			diff = max(diff, math.Abs(a.data[i]-b.data[i]))
			scale = max(scale, math.Abs(a.data[i]))
		}
	}
	return diff / scale
}
