package graphtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// resnet writes a graph piece by piece.
type resnet struct {
	w      io.Writer
	err    error
	n      int
	random uint64
	norms  int
}

// ResNet50 writes a frozen graph of the shape of a ResNet-50 of TensorFlow 1:
// about 100 MB of weights, 53 convolutions with a FusedBatchNorm each, variables
// read through Identity. Its input is "input", its output "predict". It returns
// the number of normalisations. The same bytes are written each time.
func ResNet50(w io.Writer) (norms int, err error) {
	r := &resnet{w: w, random: 1}
	t := TypeAttr("T", Float32)
	r.put(Placeholder("input", Float32, -1, 224, 224, 3))
	x := r.node("Relu", r.convolution("input", 7, 3, 64, 2))
	x = r.node("MaxPool", x, IntsAttr("ksize", 1, 3, 3, 1), IntsAttr("strides", 1, 2, 2, 1), TextAttr("padding", "SAME"))
	channels := int64(64)
	for stage, blocks := range []int{3, 4, 6, 3} {
		width := int64(64) << stage
		for block := range blocks {
			stride := int64(1)
			if block == 0 && stage > 0 {
				stride = 2
			}
			short := x
			if block == 0 {
				short = r.convolution(x, 1, channels, 4*width, stride)
			}
			y := r.node("Relu", r.convolution(x, 1, channels, width, stride))
			y = r.node("Relu", r.convolution(y, 3, width, width, 1))
			y = r.convolution(y, 1, width, 4*width, 1)
			sum := r.name("add")
			r.put(Node(sum, "Add", []string{y, short}, t))
			x, channels = r.node("Relu", sum), 4*width
		}
	}
	r.put(Const("axes", Int32, Dims(2), []byte{1, 0, 0, 0, 2, 0, 0, 0}))
	r.put(Node("pool", "Mean", []string{x, "axes"}, t, TypeAttr("Tidx", Int32)))
	weights, bias := r.variable(-0.05, 0.05, 2048, 1000), r.variable(-0.1, 0.1, 1000)
	r.put(Node("dense", "MatMul", []string{"pool", weights}, t))
	r.put(Node("logits", "BiasAdd", []string{"dense", bias}, t))
	r.put(Node("predict", "Softmax", []string{"logits"}, t))
	return r.norms, r.err
}

func (r *resnet) put(b []byte) {
	if r.err == nil {
		_, r.err = r.w.Write(b)
	}
}

func (r *resnet) name(kind string) string { r.n++; return fmt.Sprintf("resnet_v1_50/%s_%d", kind, r.n) }

func (r *resnet) node(op, x string, attrs ...Attr) string {
	name := r.name(op)
	r.put(Node(name, op, []string{x}, append(attrs, TypeAttr("T", Float32))...))
	return name
}

// variable is a frozen one of values between two limits.
func (r *resnet) variable(from, to float32, dims ...int64) string {
	count := int64(1)
	for _, d := range dims {
		count *= d
	}
	name := r.name("variable")
	// The head of a Const that ends in its content, which is made piece by piece.
	size := 4 * int(count)
	open := func(num protowire.Number, inner []byte) []byte {
		b := protowire.AppendTag(nil, num, protowire.BytesType)
		return append(protowire.AppendVarint(b, uint64(len(inner)+size)), inner...)
	}
	tensor := append(append(Varint(1, Float32), Bytes(2, Shape(dims))...), open(4, nil)...)
	value := append(Bytes(1, []byte("value")), open(2, open(8, tensor))...)
	dtype := append(Bytes(1, []byte("dtype")), Bytes(2, Varint(6, Float32))...)
	node := append(append(Bytes(1, []byte(name)), Bytes(2, []byte("Const"))...), Bytes(5, dtype)...)
	r.put(open(1, append(node, open(5, value)...)))
	content := make([]byte, 0, 1<<16)
	for i := range size / 4 {
		r.random ^= r.random << 13
		r.random ^= r.random >> 7
		r.random ^= r.random << 17
		v := from + (to-from)*float32(r.random>>40)/float32(1<<24)
		content = binary.LittleEndian.AppendUint32(content, math.Float32bits(v))
		if len(content) == cap(content) || i == size/4-1 {
			r.put(content)
			content = content[:0]
		}
	}
	return r.node("Identity", name)
}

func (r *resnet) convolution(x string, size, in, out, stride int64) string {
	limit := float32(math.Sqrt(3 / float64(size*size*in)))
	w := r.variable(-limit, limit, size, size, in, out)
	conv := r.name("conv")
	r.put(Node(conv, "Conv2D", []string{x, w}, TypeAttr("T", Float32), IntsAttr("strides", 1, stride, stride, 1), TextAttr("padding", "SAME")))
	norm := r.name("norm")
	r.put(Node(norm, "FusedBatchNorm", []string{conv, r.variable(0.7, 1.3, out), r.variable(-0.2, 0.2, out), r.variable(-0.2, 0.2, out), r.variable(0.5, 1.5, out)},
		TypeAttr("T", Float32), FloatAttr("epsilon", 1e-5), BoolAttr("is_training", false)))
	r.norms++
	return norm
}
