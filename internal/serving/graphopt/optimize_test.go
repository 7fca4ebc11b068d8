package graphopt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// without leaves a guard out, as if it had been forgotten.
func (g guards) without(id string) guards {
	return guards{
		graph:  slices.DeleteFunc(slices.Clone(g.graph), func(g graphGuard) bool { return g.id == id }),
		splice: slices.DeleteFunc(slices.Clone(g.splice), func(g spliceGuard) bool { return g.id == id }),
		fold:   slices.DeleteFunc(slices.Clone(g.fold), func(g foldGuard) bool { return g.id == id }),
	}
}

func open(tb testing.TB, data []byte) *graphwire.Graph {
	tb.Helper()
	g, err := graphwire.OpenGraph(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func edge(tb testing.TB, g *graphwire.Graph, tensor string) graphwire.Edge {
	tb.Helper()
	name, port, ok := graphwire.SplitTensorName(tensor)
	node, found := g.ByName[name]
	if !ok || !found {
		tb.Fatalf("no tensor %q", tensor)
	}
	return graphwire.Edge{Node: node, Port: port}
}

// run optimises a graph of bytes.
func run(tb testing.TB, data []byte, inputs, outputs []string, guards guards) ([]byte, Report, error) {
	tb.Helper()
	return runTyped(tb, data, inputs, outputs, guards, graphwire.Float32)
}

func runTyped(tb testing.TB, data []byte, inputs, outputs []string, guards guards, d graphwire.DataType) ([]byte, Report, error) {
	tb.Helper()
	g := open(tb, data)
	var sig Signature
	for _, in := range inputs {
		sig.Inputs = append(sig.Inputs, Feed{Tensor: edge(tb, g, in), DType: d})
	}
	for _, out := range outputs {
		sig.Outputs = append(sig.Outputs, edge(tb, g, out))
	}
	o, err := optimize(g, sig, guards)
	if err != nil {
		return nil, Report{}, err
	}
	var b bytes.Buffer
	n, err := o.WriteTo(&b)
	if err != nil {
		return nil, Report{}, err
	}
	if n != o.Size() || int64(b.Len()) != n || o.Report().BytesAfter != n {
		tb.Fatalf("%d bytes announced, %d written, %d there, %d reported", o.Size(), n, b.Len(), o.Report().BytesAfter)
	}
	var again bytes.Buffer
	if _, err := o.WriteTo(&again); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		tb.Fatalf("a second writing differs: %v", err)
	}
	return b.Bytes(), o.Report(), nil
}

// ramp is count values that differ from each other.
func ramp(count int, from, step float32) []float32 {
	values := make([]float32, count)
	for i := range values {
		values[i] = from + step*float32(i%13) - step*float32(i%5)/3
	}
	return values
}

func vector(name string, values ...float32) []byte {
	return graphtest.Const(name, graphtest.Float32, graphtest.Dims(int64(len(values))), graphtest.Floats(values...))
}

func scalar(name string, v float32) []byte {
	return graphtest.Const(name, graphtest.Float32, graphtest.Dims(), graphtest.Floats(v))
}

func filter(name string, dims ...int64) []byte {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return graphtest.Const(name, graphtest.Float32, dims, graphtest.Floats(ramp(int(n), 0.3, 0.21)...))
}

var tFloat = graphtest.TypeAttr("T", graphtest.Float32)

func conv(name, x, w string, attrs ...graphtest.Attr) []byte {
	return graphtest.Node(name, "Conv2D", []string{x, w}, append([]graphtest.Attr{tFloat, graphtest.IntsAttr("strides", 1, 1, 1, 1), graphtest.TextAttr("padding", "SAME")}, attrs...)...)
}

// statistics are the vectors of a normalisation of n channels.
func statistics(prefix string, n int) []byte {
	return graphtest.Graph(vector(prefix+"gamma", ramp(n, 1.5, 0.1)...), vector(prefix+"beta", ramp(n, -0.2, 0.3)...),
		vector(prefix+"mean", ramp(n, 0.4, 0.17)...), vector(prefix+"variance", ramp(n, 2.5, 0.2)...))
}

func fused(op, name, x, prefix string, attrs ...graphtest.Attr) []byte {
	return graphtest.Node(name, op, []string{x, prefix + "gamma", prefix + "beta", prefix + "mean", prefix + "variance"},
		append([]graphtest.Attr{tFloat, graphtest.FloatAttr("epsilon", 0.001)}, attrs...)...)
}

var inference = graphtest.BoolAttr("is_training", false)

// decomposed is what tf.nn.batch_normalization writes; add is Add or AddV2.
func decomposed(add, name, x, prefix string) []byte {
	in := func(a, b string) []string { return []string{a, b} }
	return graphtest.Graph(
		scalar(name+"/eps", 0.002),
		graphtest.Node(name+"/sum", add, in(prefix+"variance", name+"/eps"), tFloat),
		graphtest.Node(name+"/rsqrt", "Rsqrt", []string{name + "/sum"}, tFloat),
		graphtest.Node(name+"/m", "Mul", in(name+"/rsqrt", prefix+"gamma"), tFloat),
		graphtest.Node(name+"/x", "Mul", in(x, name+"/m"), tFloat),
		graphtest.Node(name+"/shift", "Mul", in(prefix+"mean", name+"/m"), tFloat),
		graphtest.Node(name+"/sub", "Sub", in(prefix+"beta", name+"/shift"), tFloat),
		graphtest.Node(name, add, in(name+"/x", name+"/sub"), tFloat),
	)
}

var x3 = graphtest.Placeholder("x", graphtest.Float32, 2, 4, 4, 3)

func feedOf(shape ...int) array {
	a := array{shape, make([]float64, size(shape))}
	for i := range a.data {
		a.data[i] = float64(float32(math.Sin(float64(i)*1.7)) + float32(i%3)*0.1)
	}
	return a
}

var feeds = map[string]array{"x:0": feedOf(2, 4, 4, 3)}

// compare evaluates both graphs.
func compare(tb testing.TB, before, after []byte, outputs []string, feeds map[string]array) (float64, error) {
	tb.Helper()
	a, b := newEvaluator(tb, before, feeds), newEvaluator(tb, after, feeds)
	worst := 0.0
	for _, out := range outputs {
		want, err := a.run(out)
		if err != nil {
			tb.Fatalf("before: %v", err)
		}
		got, err := b.run(out)
		if err != nil {
			return 0, err
		}
		worst = max(worst, difference(want, got))
	}
	return worst, nil
}

// tolerance is for weights that were rounded to float32 once more.
const tolerance = 2e-6

func TestFold(t *testing.T) {
	noTraining := inference
	nchw := graphtest.TextAttr("data_format", "NCHW")
	stats := statistics("", 4)
	base := func(parts ...[]byte) []byte {
		return graphtest.Graph(append([][]byte{x3, filter("w", 3, 3, 3, 4), stats}, parts...)...)
	}
	plain := conv("conv", "x", "w")
	global := func(scaled bool) []byte {
		return graphtest.Node("bn", "BatchNormWithGlobalNormalization", []string{"conv", "mean", "variance", "beta", "gamma"}, tFloat,
			graphtest.FloatAttr("variance_epsilon", 0.003), graphtest.BoolAttr("scale_after_normalization", scaled))
	}
	withoutGamma := graphtest.Graph(scalar("eps", 0.002), graphtest.Node("sum", "Add", []string{"eps", "variance"}, tFloat), graphtest.Node("m", "Rsqrt", []string{"sum"}, tFloat),
		graphtest.Node("p", "Mul", []string{"m", "conv"}, tFloat), graphtest.Node("q", "Mul", []string{"m", "mean"}, tFloat),
		graphtest.Node("sub", "Sub", []string{"beta", "q"}, tFloat), graphtest.Node("bn", "Add", []string{"sub", "p"}, tFloat))
	tests := map[string][]byte{
		"FusedBatchNorm":      base(plain, fused("FusedBatchNorm", "bn", "conv", "", noTraining)),
		"FusedBatchNormV2":    base(plain, fused("FusedBatchNormV2", "bn", "conv", "", noTraining)),
		"FusedBatchNormV3":    base(plain, fused("FusedBatchNormV3", "bn", "conv", "", noTraining)),
		"global, scaled":      base(plain, global(true)),
		"global, not scaled":  base(plain, global(false)),
		"decomposed, Add":     base(plain, decomposed("Add", "bn", "conv", "")),
		"decomposed, AddV2":   base(plain, decomposed("AddV2", "bn", "conv", "")),
		"no gamma, turned":    base(plain, withoutGamma),
		"depthwise":           graphtest.Graph(x3, filter("w", 3, 3, 3, 2), statistics("", 6), graphtest.Node("conv", "DepthwiseConv2dNative", []string{"x", "w"}, tFloat), fused("FusedBatchNormV3", "bn", "conv", "", noTraining)),
		"BiasAdd between":     base(plain, vector("b", ramp(4, 0.7, 0.2)...), graphtest.Node("bias", "BiasAdd", []string{"conv", "b"}, tFloat), fused("FusedBatchNormV3", "bn", "bias", "", noTraining)),
		"Add between":         base(plain, vector("b", ramp(4, 0.7, 0.2)...), graphtest.Node("bias", "Add", []string{"conv", "b"}, tFloat), fused("FusedBatchNormV3", "bn", "bias", "", noTraining)),
		"AddV2, other side":   base(plain, vector("b", ramp(4, 0.7, 0.2)...), graphtest.Node("bias", "AddV2", []string{"b", "conv"}, tFloat), decomposed("AddV2", "bn", "bias", "")),
		"NCHW":                graphtest.Graph(graphtest.Placeholder("x", graphtest.Float32, 2, 3, 4, 4), filter("w", 3, 3, 3, 4), stats, conv("conv", "x", "w", nchw), fused("FusedBatchNormV3", "bn", "conv", "", noTraining, nchw)),
		"through Identity":    base(graphtest.Node("read", "Identity", []string{"w"}, tFloat), conv("conv", "x", "read:0"), graphtest.Node("id", "Identity", []string{"conv:0"}, tFloat), fused("FusedBatchNormV3", "bn", "id", "", noTraining)),
		"float_val":           graphtest.Graph(x3, graphtest.Node("w", "Const", nil, graphtest.TypeAttr("dtype", graphtest.Float32), graphtest.FloatValAttr("value", graphtest.Dims(1, 1, 3, 4), 1, 2, 3, 0.5)), stats, plain, fused("FusedBatchNormV3", "bn", "conv", "", noTraining)),
		"default epsilon":     base(plain, graphtest.Node("bn", "FusedBatchNormV3", []string{"conv", "gamma", "beta", "mean", "variance"}, tFloat, noTraining)),
		"G7: port 0 by name":  base(conv("conv", "x:0", "w:0"), fused("FusedBatchNormV3", "bn", "conv:0", "", noTraining)),
		"kept control inputs": base(graphtest.Node("init", "NoOp", []string{"^x"}), plain, graphtest.Node("bn", "FusedBatchNormV3", []string{"conv", "gamma", "beta", "mean", "variance", "^init"}, tFloat, graphtest.FloatAttr("epsilon", 0.001), noTraining)),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			data := graphtest.Graph(data, graphtest.Node("y", "Relu", []string{"bn"}, tFloat), graphtest.Versions(27))
			in := feeds
			if name == "NCHW" {
				in = map[string]array{"x:0": feedOf(2, 3, 4, 4)}
			}
			got, report, err := run(t, data, []string{"x"}, []string{"y"}, allGuards)
			if err != nil {
				t.Fatal(err)
			}
			if fold := report.Passes[2]; fold.Changed != 1 || len(fold.Left) > 0 {
				t.Fatalf("%+v", fold)
			}
			if d, err := compare(t, data, got, []string{"y", "bn"}, in); err != nil || d > tolerance {
				t.Fatalf("difference %g, %v", d, err)
			}
			e := newEvaluator(t, got, nil)
			want := []string{"bn", "conv", "conv_bn_offset", "conv_weights", "x", "y"}
			if name == "kept control inputs" {
				want = append(want, "init")
				slices.Sort(want)
			}
			var names []string
			for name := range e.nodes {
				names = append(names, name)
			}
			slices.Sort(names)
			if !slices.Equal(names, want) || e.nodes["bn"].op != "BiasAdd" {
				t.Errorf("nodes %v, bn is %s", names, e.nodes["bn"].op)
			}
			if report.NodesAfter != len(want) || report.NodesBefore != len(open(t, data).Nodes) {
				t.Errorf("report %+v", report)
			}
			// Twice is once: nothing is left to do.
			again, report, err := run(t, got, []string{"x"}, []string{"y"}, allGuards)
			if err != nil || !bytes.Equal(again, got) || report.Passes[2].Changed != 0 {
				t.Errorf("a second time: %+v, %v", report, err)
			}
		})
	}
}

var goldenFold = map[string][]uint32{
	"conv_weights":   {0x3ded558c, 0xbd7f0c9e, 0x4074c038, 0x38ba8ce4, 0x430f1169, 0xbcf2a944},
	"conv_bn_offset": {0xbec4e9db, 0x3f9d4ffb},
}

// TestFoldExact has the bits that numpy computes by the formulas of TensorFlow's
// fold_batch_norms.
func TestFoldExact(t *testing.T) {
	data := graphtest.Graph(x3,
		graphtest.Const("w", graphtest.Float32, graphtest.Dims(1, 1, 3, 2), graphtest.Floats(0.1, -0.7, 3.3, 1e-3, 123.456, -0.333)),
		vector("gamma", 1.1, 0.37), vector("beta", -0.3, 0.77), vector("mean", 0.123, -4.56), vector("variance", 0.9, 17.3), vector("b", 0.05, 0.6),
		conv("conv", "x", "w"), graphtest.Node("bias", "BiasAdd", []string{"conv", "b"}, tFloat), fused("FusedBatchNorm", "bn", "bias", "", inference))
	got, _, err := run(t, data, []string{"x"}, []string{"bn"}, allGuards)
	if err != nil {
		t.Fatal(err)
	}
	e := newEvaluator(t, got, nil)
	for name, want := range goldenFold {
		a, err := e.run(name)
		if err != nil {
			t.Fatal(err)
		}
		var bits []uint32
		for _, v := range a.data {
			bits = append(bits, math.Float32bits(float32(v)))
		}
		if !slices.Equal(bits, want) {
			t.Errorf("%s: got %#x, want %#x", name, bits, want)
		}
	}
}

// guardCase is a graph that is rewritten wrongly when the guard is forgotten.
type guardCase struct {
	guard   string
	pass    int // of the report: 1 splice, 2 fold
	graph   []byte
	inputs  []string
	outputs []string
	feeds   map[string]array
	reason  string
	untyped bool // whether the dtype of the inputs is unknown, so that none becomes a Placeholder
}

func guardCases() map[string]guardCase {
	stats := statistics("", 4)
	w := filter("w", 3, 3, 3, 4)
	nchw := graphtest.TextAttr("data_format", "NCHW")
	norm := fused("FusedBatchNormV3", "bn", "conv", "", inference)
	base := func(parts ...[]byte) []byte { return graphtest.Graph(append([][]byte{x3, w, stats}, parts...)...) }
	square := map[string]array{"x:0": feedOf(2, 4, 4, 4)}
	x4 := graphtest.Placeholder("x", graphtest.Float32, 2, 4, 4, 4)
	bias := vector("b", ramp(4, 0.7, 0.2)...)
	relu := func(name, x string) []byte { return graphtest.Node(name, "Relu", []string{x}, tFloat) }
	return map[string]guardCase{
		"training": {"G1", 2, base(conv("conv", "x", "w"), fused("FusedBatchNorm", "bn", "conv", "", graphtest.BoolAttr("is_training", true))),
			nil, []string{"bn"}, nil, "it computes its own statistics", false},
		"training by default": {"G1", 2, base(conv("conv", "x", "w"), fused("FusedBatchNorm", "bn", "conv", "")),
			nil, []string{"bn"}, nil, "it computes its own statistics", false},
		"convolution read by others": {"G2", 2, base(conv("conv", "x", "w"), norm, relu("other", "conv")),
			nil, []string{"bn", "other"}, nil, `the output of "conv" is read by others too`, false},
		"bias read by others": {"G2", 2, base(conv("conv", "x", "w"), bias, graphtest.Node("bias", "BiasAdd", []string{"conv", "b"}, tFloat), fused("FusedBatchNormV3", "bn", "bias", "", inference), relu("other", "bias")),
			nil, []string{"bn", "other"}, nil, `the output of "bias" is read by others too`, false},
		"product read by others": {"G2", 2, base(conv("conv", "x", "w"), decomposed("AddV2", "bn", "conv", ""), relu("other", "bn/x")),
			nil, []string{"bn", "other"}, nil, `the output of "bn/x" is read by others too`, false},
		"statistics read": {"G4", 2, base(conv("conv", "x", "w"), norm, relu("variance2", "bn:2")),
			nil, []string{"bn", "variance2"}, nil, "its output 2 is read", false},
		"layouts differ": {"G6", 2, graphtest.Graph(x4, filter("w", 3, 3, 4, 4), stats, conv("conv", "x", "w"), fused("FusedBatchNormV3", "bn", "conv", "", inference, nchw)),
			nil, []string{"bn"}, square, "it normalises NCHW, the convolution makes NHWC", false},
		"decomposed of NCHW": {"G6", 2, graphtest.Graph(x4, filter("w", 3, 3, 4, 4), stats, conv("conv", "x", "w", nchw), decomposed("Add", "bn", "conv", "")),
			nil, []string{"bn"}, square, "it normalises NHWC, the convolution makes NCHW", false},
		"bias of another layout": {"G6", 2, graphtest.Graph(x4, filter("w", 3, 3, 4, 4), stats, bias, conv("conv", "x", "w", nchw), graphtest.Node("bias", "Add", []string{"conv", "b"}, tFloat), fused("FusedBatchNormV3", "bn", "bias", "", inference, nchw)),
			nil, []string{"bn"}, square, "the bias is added to NHWC, the convolution makes NCHW", false},
		"convolution is an output": {"G10", 2, base(conv("conv", "x", "w"), norm),
			nil, []string{"conv", "bn"}, nil, `"conv", which it would change, is an input or output of the signature`, false},
		"normalisation is fed": {"G10", 2, base(conv("conv", "x", "w"), bias, graphtest.Node("bias", "AddV2", []string{"conv", "b"}, tFloat), fused("FusedBatchNormV3", "bn", "bias", "", inference), relu("y", "bn")),
			[]string{"x", "bias"}, []string{"y"}, map[string]array{"x:0": feedOf(2, 4, 4, 3), "bias:0": feedOf(2, 4, 4, 4)}, `"bias", which it would change, is an input or output of the signature`, true},
		"Identity is an output": {"G10", 1, graphtest.Graph(x3, graphtest.Node("y", "Identity", []string{"x"}, tFloat)),
			nil, []string{"y"}, nil, "it is an input or output of the signature", false},
		"Identity is fed": {"G10", 1, graphtest.Graph(x3, relu("r", "x"), graphtest.Node("id", "Identity", []string{"r", "^x"}, tFloat), graphtest.Node("a", "Identity", []string{"id"}, tFloat), relu("y", "a")),
			[]string{"x", "a"}, []string{"y"}, map[string]array{"x:0": feedOf(2, 4, 4, 3), "a:0": apply(feedOf(2, 4, 4, 3), func(x float64) float64 { return 5 - x })}, "it is an input or output of the signature", true},
		"an output it does not have": {"port", 1, graphtest.Graph(x3, graphtest.Node("id", "Identity", []string{"x"}, tFloat), graphtest.Node("y", "Relu", []string{"x"}, tFloat), relu("z", "id:1")),
			nil, []string{"y", "z"}, nil, "an output is read that it does not have", false},
	}
}

// TestGuards makes sure that each graph is left alone, and that it would become
// another one if the guard were not there.
func TestGuards(t *testing.T) {
	for name, tt := range guardCases() {
		t.Run(name, func(t *testing.T) {
			inputs, in := tt.inputs, tt.feeds
			if inputs == nil {
				inputs = []string{"x"}
			}
			if in == nil {
				in = feeds
			}
			d := graphwire.Float32
			if tt.untyped {
				d = graphwire.Invalid
			}
			got, report, err := runTyped(t, tt.graph, inputs, tt.outputs, allGuards, d)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(report.Passes[tt.pass].Left, func(l Left) bool {
				return l.Guard == tt.guard && strings.Contains(l.Reason, tt.reason)
			}) {
				t.Errorf("not left by %s, %s: %+v", tt.guard, tt.reason, report.Passes[tt.pass])
			}
			if name != "an output it does not have" { // which cannot be computed at all
				if d, err := compare(t, tt.graph, got, tt.outputs, in); err != nil || d > tolerance {
					t.Fatalf("difference %g, %v", d, err)
				}
			}
			wrong, _, err := runTyped(t, tt.graph, inputs, tt.outputs, allGuards.without(tt.guard), d)
			if err != nil {
				return // the last check found it
			}
			if name == "an output it does not have" {
				if bytes.Equal(wrong, got) {
					t.Error("the graph is the same without the guard")
				}
				return
			}
			if d, err := compare(t, tt.graph, wrong, tt.outputs, in); err == nil && !(d > 1e-3) {
				t.Errorf("without %s the difference is %g: the graph tests nothing", tt.guard, d)
			}
		})
	}
}

// TestNotFinite is G9, for each of the places where it looks.
func TestNotFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	for name, tt := range map[string]struct {
		reason string
		values [4]float32 // filter, gamma, mean, variance
	}{
		"negative variance":  {reason: "its variance + epsilon is -0.999 in channel 1", values: [4]float32{1, 1, 1, -1}},
		"zero":               {reason: "its variance + epsilon is 0 in channel 1", values: [4]float32{1, 1, 1, -0.001}},
		"not a number":       {reason: "its variance + epsilon is NaN in channel 1", values: [4]float32{1, 1, 1, nan}},
		"infinite factor":    {reason: "the result is not finite in channel 1", values: [4]float32{1, inf, 1, 1}},
		"infinite offset":    {reason: "the result is not finite in channel 1", values: [4]float32{1, 1e30, 1e30, 1}},
		"infinite weights":   {reason: "folded weights are not finite", values: [4]float32{3e38, 100, 0, 1}},
		"weights not finite": {reason: "folded weights are not finite", values: [4]float32{inf, 1, 0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			v := tt.values
			data := graphtest.Graph(x3,
				graphtest.Const("w", graphtest.Float32, graphtest.Dims(1, 1, 3, 2), graphtest.Floats(1, 1, 1, 1, 1, v[0])),
				vector("gamma", 1, v[1]), vector("beta", 1, 1), vector("mean", 1, v[2]), vector("variance", 1, v[3]),
				conv("conv", "x", "w"), fused("FusedBatchNorm", "bn", "conv", "", inference))
			got, report, err := run(t, data, []string{"x"}, []string{"bn"}, allGuards)
			if err != nil {
				t.Fatal(err)
			}
			left := report.Passes[2].Left
			if len(left) != 1 || left[0].Guard != "G9" || left[0].Reason != tt.reason || !bytes.Equal(got, data) {
				t.Errorf("got %+v, want %s", left, tt.reason)
			}
		})
	}
}

// TestNotFiniteLast has the one bad weight at the end of an odd number.
func TestNotFiniteLast(t *testing.T) {
	data := graphtest.Graph(x3, graphtest.Const("w", graphtest.Float32, graphtest.Dims(1, 1, 3, 1), graphtest.Floats(1, 1, float32(math.Inf(-1)))),
		statistics("", 1), conv("conv", "x", "w"), fused("FusedBatchNorm", "bn", "conv", "", inference))
	_, report, err := run(t, data, []string{"x"}, []string{"bn"}, allGuards)
	if err != nil || len(report.Passes[2].Left) != 1 || report.Passes[2].Left[0].Guard != "G9" {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestOnlyFloat32 is G5.
func TestOnlyFloat32(t *testing.T) {
	stats := statistics("", 4)
	double := graphtest.Const("w", graphtest.Float64, graphtest.Dims(1, 1, 3, 4), make([]byte, 96))
	half := graphtest.Const("w", graphtest.Float16, graphtest.Dims(1, 1, 3, 4), make([]byte, 24))
	norm := fused("FusedBatchNormV3", "bn", "conv", "", inference)
	for name, tt := range map[string]struct {
		graph  []byte
		reason string
	}{
		"half":   {graphtest.Graph(half, graphtest.Node("conv", "Conv2D", []string{"x", "w"}, graphtest.TypeAttr("T", graphtest.Float16))), `convolution "conv" computes in float16, and only float32 is folded`},
		"double": {graphtest.Graph(double, graphtest.Node("conv", "Conv2D", []string{"x", "w"}, graphtest.TypeAttr("T", graphtest.Float64))), `convolution "conv" computes in float64`},
		"filter": {graphtest.Graph(half, conv("conv", "x", "w")), "its convolution's filter is float16, and only float32 is folded"},
	} {
		data := graphtest.Graph(x3, stats, tt.graph, norm)
		got, report, err := run(t, data, []string{"x"}, []string{"bn"}, allGuards)
		if err != nil {
			t.Fatal(err)
		}
		left := report.Passes[2].Left
		if len(left) != 1 || left[0].Guard != "G5" || !strings.Contains(left[0].Reason, tt.reason) || !bytes.Equal(got, data) {
			t.Errorf("%s: got %+v", name, left)
		}
	}
}

// TestSharedWeights is G3: two convolutions read one filter, one of them is
// normalised, and each must get what it wants.
func TestSharedWeights(t *testing.T) {
	data := graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), statistics("b", 4),
		conv("one", "x", "w"), conv("two", "x", "w"), conv("three", "x", "w"),
		fused("FusedBatchNorm", "bn", "one", "", inference), fused("FusedBatchNorm", "bn2", "three", "b", inference))
	outputs := []string{"bn", "two", "bn2"}
	got, report, err := run(t, data, []string{"x"}, outputs, allGuards)
	if err != nil || report.Passes[2].Changed != 2 {
		t.Fatal(report, err)
	}
	if d, err := compare(t, data, got, outputs, feeds); err != nil || d > tolerance {
		t.Errorf("difference %g, %v", d, err)
	}
	if _, ok := newEvaluator(t, got, nil).nodes["w"]; !ok {
		t.Error("the shared filter is gone")
	}
}

// TestNameCollisions is G8.
func TestNameCollisions(t *testing.T) {
	data := graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), vector("conv_weights", 1, 2, 3, 4), vector("conv_weights_1", 1, 2, 3, 4), vector("conv_bn_offset", 5, 6, 7, 8),
		conv("conv", "x", "w"), fused("FusedBatchNorm", "bn", "conv", "", inference),
		graphtest.Node("y", "Add", []string{"bn", "conv_weights"}, tFloat), graphtest.Node("z", "Add", []string{"y", "conv_bn_offset"}, tFloat),
		graphtest.Node("o", "Add", []string{"z", "conv_weights_1"}, tFloat))
	got, report, err := run(t, data, []string{"x"}, []string{"o"}, allGuards)
	if err != nil || report.Passes[2].Changed != 1 {
		t.Fatal(report, err)
	}
	if d, err := compare(t, data, got, []string{"o"}, feeds); err != nil || d > tolerance {
		t.Errorf("difference %g, %v", d, err)
	}
	e := newEvaluator(t, got, nil)
	if e.nodes["conv"].inputs[1] != "conv_weights_2" || e.nodes["bn"].inputs[1] != "conv_bn_offset_1" {
		t.Errorf("conv reads %v, bn reads %v", e.nodes["conv"].inputs, e.nodes["bn"].inputs)
	}
}

// TestControlFlow is G11: in a loop, new constants would run outside of it.
func TestControlFlow(t *testing.T) {
	loop := graphtest.Graph(x3, statistics("", 4), filter("w", 3, 3, 3, 4),
		graphtest.Node("enter", "Enter", []string{"x"}, tFloat, graphtest.TextAttr("frame_name", "f")),
		graphtest.Node("id", "Identity", []string{"enter"}, tFloat),
		conv("conv", "id", "w"), fused("FusedBatchNorm", "bn", "conv", "", inference), graphtest.Node("exit", "Exit", []string{"bn"}, tFloat),
		vector("unused", 1))
	got, report, err := run(t, loop, []string{"x"}, []string{"exit"}, allGuards)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.TrimSuffix(loop, vector("unused", 1)); !bytes.Equal(got, want) {
		t.Error("more was done than pruning")
	}
	for _, pass := range report.Passes[1:3] {
		if pass.Changed != 0 || len(pass.Left) != 1 || pass.Left[0].Guard != "G11" ||
			!strings.Contains(pass.Left[0].Reason, `the graph has control flow of TensorFlow 1 (Enter "enter")`) {
			t.Errorf("%+v", pass)
		}
	}
	if _, report, err = run(t, loop, []string{"x"}, []string{"exit"}, allGuards.without("G11")); err != nil || report.Passes[2].Changed != 1 {
		t.Errorf("without the guard: %+v, %v", report, err)
	}
	// Control flow that is pruned away does not count.
	if _, report, err = run(t, graphtest.Graph(loop, graphtest.Node("i", "Identity", []string{"x"}, tFloat), graphtest.Node("y", "Relu", []string{"i"}, tFloat)), []string{"x"}, []string{"y"}, allGuards); err != nil || report.Passes[1].Changed != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestLeft(t *testing.T) {
	stats := statistics("", 4)
	norm := fused("FusedBatchNormV3", "bn", "conv", "", inference)
	for name, tt := range map[string]struct {
		graph  []byte
		reason string
	}{
		"no convolution":     {graphtest.Graph(stats, fused("FusedBatchNorm", "bn", "x", "", inference)), `it normalises the output of Placeholder "x", which is no convolution`},
		"computed filter":    {graphtest.Graph(stats, filter("v", 3, 3, 3, 4), graphtest.Node("w", "Relu", []string{"v"}, tFloat), conv("conv", "x", "w"), norm), `its convolution's filter is computed by Relu "w"`},
		"computed mean":      {graphtest.Graph(filter("w", 3, 3, 3, 4), vector("gamma", 1, 1, 1, 1), vector("beta", 1, 1, 1, 1), vector("m", 1, 1, 1, 1), vector("variance", 1, 1, 1, 1), graphtest.Node("mean", "Relu", []string{"m"}, tFloat), conv("conv", "x", "w"), norm), `its mean is computed by Relu "mean"`},
		"waiting filter":     {graphtest.Graph(stats, graphtest.Node("w", "Const", []string{"^x"}, graphtest.TypeAttr("dtype", 1), graphtest.TensorAttr("value", 1, graphtest.Dims(1, 1, 3, 4), graphtest.Floats(ramp(12, 1, 1)...))), conv("conv", "x", "w"), norm), `its convolution's filter "w" waits for another node`},
		"channels":           {graphtest.Graph(stats, filter("w", 3, 3, 3, 5), conv("conv", "x", "w"), norm), "its gamma has the shape [4], the convolution has 5 channels"},
		"rank of the filter": {graphtest.Graph(stats, vector("w", 1, 2, 3, 4), conv("conv", "x", "w"), norm), `the filter of "conv" has the shape [4]`},
		"splat filter": {graphtest.Graph(stats, graphtest.Node("w", "Const", nil, graphtest.TypeAttr("dtype", 1), graphtest.FloatValAttr("value", graphtest.Dims(1000, 1000, 3, 4), 1)), conv("conv", "x", "w"), norm),
			"the filter is one value, and would take 48000000 bytes"},
		"two in a row": {graphtest.Graph(stats, statistics("b", 4), filter("w", 3, 3, 3, 4), conv("conv", "x", "w"), fused("FusedBatchNorm", "first", "conv", "b", inference), fused("FusedBatchNorm", "bn", "first", "", inference)),
			`"first_bn_offset`},
	} {
		t.Run(name, func(t *testing.T) {
			_, report, err := run(t, graphtest.Graph(x3, tt.graph), []string{"x"}, []string{"bn"}, allGuards)
			if err != nil {
				t.Fatal(err)
			}
			left := report.Passes[2].Left
			if len(left) != 1 || left[0].Node != "bn" || !strings.Contains(left[0].Reason, tt.reason) && name != "two in a row" {
				t.Errorf("got %+v, want %s", left, tt.reason)
			}
		})
	}
}

// TestPrune cuts at an input in the middle, keeps what is placed together, and
// does not touch what is no node.
func TestPrune(t *testing.T) {
	library := graphtest.Bytes(2, graphtest.Bytes(1, graphtest.Bytes(1, graphtest.Bytes(1, []byte("f")))))
	future := graphtest.Bytes(1000, []byte("of a later TensorFlow"))
	data := graphtest.Graph(library, x3, graphtest.Node("before", "Relu", []string{"x"}, tFloat), future, graphtest.Node("mid", "Relu", []string{"before"}, tFloat),
		vector("place", 1), graphtest.Node("y", "Relu", []string{"mid"}, tFloat, graphtest.TextsAttr("_class", "loc:@place", "loc:@gone")), vector("unused", 1, 2), graphtest.Versions(27))
	got, report, err := run(t, data, []string{"mid"}, []string{"y"}, allGuards)
	if err != nil {
		t.Fatal(err)
	}
	mid := graphtest.Node("mid", "Placeholder", nil, graphtest.TypeAttr("dtype", graphtest.Float32), graphtest.ShapeAttr("shape", nil))
	want := graphtest.Graph(library, future, mid, vector("place", 1), graphtest.Node("y", "Relu", []string{"mid"}, tFloat, graphtest.TextsAttr("_class", "loc:@place", "loc:@gone")), graphtest.Versions(27))
	if !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if p := report.Passes[0]; p.Changed != 3 || p.Nodes != 3 || p.Bytes != int64(len(data)-len(want)) {
		t.Errorf("%+v", p)
	}
	// An input that others wait for, or with other outputs that are read, stays.
	for reason, data := range map[string][]byte{
		"but other nodes wait for it":         graphtest.Graph(x3, graphtest.Node("mid", "Relu", []string{"x"}, tFloat), graphtest.Node("y", "Relu", []string{"mid", "^mid"}, tFloat)),
		"but has other outputs that are read": graphtest.Graph(x3, graphtest.Node("mid", "Split", []string{"x", "x"}, tFloat, graphtest.IntAttr("num_split", 2)), graphtest.Node("y", "Add", []string{"mid", "mid:1"}, tFloat)),
	} {
		got, report, err := run(t, data, []string{"mid"}, []string{"y"}, allGuards)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %v", reason, err)
		}
		if left := report.Passes[0].Left; len(left) != 1 || !strings.Contains(left[0].Reason, reason) {
			t.Errorf("got %+v, want %s", left, reason)
		}
	}
}

// TestSplice keeps everything of the nodes whose inputs change, known or not.
func TestSplice(t *testing.T) {
	future := graphtest.Bytes(1000, []byte("later"))
	add := graphtest.Node("y", "AddN", []string{"c", "x:0", "b", "^x"}, graphtest.IntAttr("N", 3), tFloat)
	body := append(slices.Clone(add[2:]), future...)
	data := graphtest.Graph(x3, graphtest.Node("a", "Identity", []string{"x"}, tFloat), graphtest.Node("b", "CheckNumerics", []string{"a"}, tFloat), graphtest.Node("c", "Identity", []string{"b:0"}, tFloat),
		graphtest.Bytes(1, body), graphtest.Node("d", "Identity", []string{"x", "^x"}, tFloat), graphtest.Node("z", "AddN", []string{"d", "y"}, tFloat))
	got, report, err := run(t, data, []string{"x"}, []string{"z"}, allGuards)
	if err != nil {
		t.Fatal(err)
	}
	want := graphtest.Node("y", "AddN", []string{"x", "x", "x"}, graphtest.IntAttr("N", 3), tFloat)
	want = graphtest.Graph(x3, graphtest.Bytes(1, append(slices.Clone(want[2:]), future...)), graphtest.Node("d", "Identity", []string{"x", "^x"}, tFloat), graphtest.Node("z", "AddN", []string{"d", "y"}, tFloat))
	if !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if p := report.Passes[1]; p.Changed != 3 || len(p.Left) != 1 || p.Left[0].Reason != "it waits for another node" {
		t.Errorf("%+v", p)
	}
	// What must run beside an Identity needs it.
	placed := graphtest.Graph(x3, graphtest.Node("a", "Identity", []string{"x"}, tFloat), graphtest.Node("y", "Relu", []string{"a"}, tFloat, graphtest.TextsAttr("_class", "loc:@a")))
	if got, report, err := run(t, placed, []string{"x"}, []string{"y"}, allGuards); err != nil || !bytes.Equal(got, placed) || report.Passes[1].Left[0].Guard != "placed" {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestDropWaits has what converters of TensorFlow 2 write: one node that waits
// for every weight, and an output that waits for it.
func TestDropWaits(t *testing.T) {
	head := graphtest.Graph(x3, vector("w", 1, 2, 3), graphtest.Node("read", "Identity", []string{"w"}, tFloat))
	data := graphtest.Graph(head, graphtest.Node("sum", "AddV2", []string{"x", "read"}, tFloat),
		graphtest.Node("all", "NoOp", []string{"^read"}), graphtest.Node("y", "Identity", []string{"sum", "^all"}, tFloat))
	want := graphtest.Graph(x3, vector("w", 1, 2, 3), graphtest.Node("sum", "AddV2", []string{"x", "w"}, tFloat), graphtest.Node("y", "Identity", []string{"sum"}, tFloat))
	if got, _, err := run(t, data, []string{"x"}, []string{"y"}, allGuards); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q, %v", got, want, err)
	}
	// What computes, prints or is fed is waited for, through an Identity too.
	for name, tt := range map[string]struct{ graph, want []byte }{
		"computed": {
			graphtest.Graph(head, graphtest.Node("r", "Print", []string{"x"}, tFloat), graphtest.Node("id", "Identity", []string{"r"}, tFloat), graphtest.Node("y", "AddV2", []string{"x", "read", "^id", "^r"}, tFloat)),
			graphtest.Graph(x3, vector("w", 1, 2, 3), graphtest.Node("r", "Print", []string{"x"}, tFloat), graphtest.Node("y", "AddV2", []string{"x", "w", "^r"}, tFloat)),
		},
		"printed": {
			graphtest.Graph(head, graphtest.Node("r", "Print", []string{"read"}, tFloat), graphtest.Node("y", "AddV2", []string{"x", "read", "^r"}, tFloat)),
			graphtest.Graph(x3, vector("w", 1, 2, 3), graphtest.Node("r", "Print", []string{"w"}, tFloat), graphtest.Node("y", "AddV2", []string{"x", "w", "^r"}, tFloat)),
		},
		"fed": {
			graphtest.Graph(x3, graphtest.Node("id", "Identity", []string{"x"}, tFloat), graphtest.Node("y", "AddV2", []string{"x", "id", "^id"}, tFloat), graphtest.Node("z", "Relu", []string{"y", "^x"}, tFloat)),
			graphtest.Graph(x3, graphtest.Node("y", "AddV2", []string{"x", "x"}, tFloat), graphtest.Node("z", "Relu", []string{"y", "^x"}, tFloat)),
		},
	} {
		output := map[string]string{"computed": "y", "printed": "y", "fed": "z"}[name]
		if got, _, err := run(t, tt.graph, []string{"x"}, []string{output}, allGuards); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: got  %q\nwant %q, %v", name, got, tt.want, err)
		}
	}
}

// TestReshapedVectors is how Keras writes a normalisation whose axis is given: the
// statistics have four dimensions, the bias is made to and back.
func TestReshapedVectors(t *testing.T) {
	ints := func(name string, v ...uint32) []byte {
		var content []byte
		for _, x := range v {
			content = binary.LittleEndian.AppendUint32(content, x)
		}
		return graphtest.Const(name, graphtest.Int32, graphtest.Dims(int64(len(v))), content)
	}
	reshape := func(name string) []byte { return graphtest.Node("r"+name, "Reshape", []string{name, "to"}, tFloat) }
	base := func(squeeze ...int64) []byte {
		return graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), vector("b", ramp(4, 0.7, 0.2)...), ints("to", 1, 1, 1, 4),
			reshape("gamma"), reshape("beta"), reshape("mean"), reshape("variance"), reshape("b"),
			graphtest.Node("flat", "Squeeze", []string{"rb"}, tFloat, graphtest.IntsAttr("squeeze_dims", squeeze...)),
			conv("conv", "x", "w"), graphtest.Node("bias", "BiasAdd", []string{"conv", "flat"}, tFloat), decomposed("AddV2", "bn", "bias", "r"))
	}
	if _, report, err := run(t, base(), []string{"x"}, []string{"bn"}, allGuards); err != nil || report.Passes[2].Changed != 1 {
		t.Errorf("a Squeeze of all: %+v, %v", report.Passes[2], err)
	}
	data := base(0, 1, 2)
	got, report, err := run(t, data, []string{"x"}, []string{"bn"}, allGuards)
	if err != nil || report.Passes[2].Changed != 1 {
		t.Fatal(report, err)
	}
	// The evaluator knows neither; the vectors alone are the same graph.
	flat := graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), vector("b", ramp(4, 0.7, 0.2)...), conv("conv", "x", "w"),
		graphtest.Node("bias", "BiasAdd", []string{"conv", "b"}, tFloat), decomposed("AddV2", "bn", "bias", ""))
	if d, err := compare(t, flat, got, []string{"bn"}, feeds); err != nil || d > tolerance {
		t.Errorf("difference %g, %v", d, err)
	}
	if _, report, err = run(t, base(0, 1), []string{"x"}, []string{"bn"}, allGuards); err != nil || report.Passes[2].Changed != 0 {
		t.Errorf("another Squeeze: %+v, %v", report.Passes[2], err)
	}
	// Along another dimension it is another sum.
	across := func(dims ...uint32) []byte {
		return graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), ints("to", dims...), reshape("gamma"), reshape("beta"), reshape("mean"), reshape("variance"),
			conv("conv", "x", "w"), decomposed("AddV2", "bn", "conv", "r"))
	}
	for dims, want := range map[[4]uint32]int{{1, 1, 1, 4}: 1, {1, 4, 1, 1}: 0, {1, 1, 4, 1}: 0} {
		if _, report, err = run(t, across(dims[:]...), []string{"x"}, []string{"bn"}, allGuards); err != nil || report.Passes[2].Changed != want {
			t.Errorf("%v: %+v, %v", dims, report.Passes[2], err)
		}
	}
}

// TestFedConstant has statistics that requests may give.
func TestFedConstant(t *testing.T) {
	data := graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), conv("conv", "x", "w"), fused("FusedBatchNorm", "bn", "conv", "", inference))
	got, report, err := runTyped(t, data, []string{"x", "mean"}, []string{"bn"}, allGuards, graphwire.Invalid)
	if err != nil || !bytes.Equal(got, data) || report.Passes[2].Left[0].Reason != "its mean is an input of the signature" {
		t.Errorf("%+v, %v", report, err)
	}
	read := graphtest.Graph(x3, filter("w", 3, 3, 3, 4), statistics("", 4), conv("conv", "x", "w"), graphtest.Node("read", "Identity", []string{"mean"}, tFloat),
		graphtest.Node("bn", "FusedBatchNorm", []string{"conv", "gamma", "beta", "read", "variance"}, tFloat, inference))
	if _, report, err = runTyped(t, read, []string{"x", "read"}, []string{"bn"}, allGuards, graphwire.Invalid); err != nil || report.Passes[2].Changed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, report, err = run(t, data, []string{"x", "mean"}, []string{"bn"}, allGuards); err != nil || report.Passes[2].Left[0].Reason != `its mean is computed by Placeholder "mean"` {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestStructuralProblems(t *testing.T) {
	data := graphtest.Graph(x3, x3)
	_, _, err := run(t, data, []string{"x"}, []string{"x"}, allGuards)
	var ns *graphwire.NotServableError
	if !errors.As(err, &ns) || !strings.HasPrefix(err.Error(), "optimise graph: the graph cannot be served") {
		t.Errorf("got %v", err)
	}
}

// TestLongChain is walked once, however long.
func TestLongChain(t *testing.T) {
	const length = 100_000
	var b bytes.Buffer
	b.Write(x3)
	name := "x"
	for i := range length {
		next := "i" + strconv.Itoa(i)
		b.Write(graphtest.Node(next, "Identity", []string{name}, tFloat))
		b.Write(graphtest.Node("r"+next, "Relu", []string{next}, tFloat))
		name = next
	}
	b.Write(graphtest.Node("y", "Relu", []string{name}, tFloat))
	got, report, err := run(t, b.Bytes(), []string{"x"}, []string{"y"}, allGuards)
	want := graphtest.Graph(x3, graphtest.Node("y", "Relu", []string{"x"}, tFloat))
	if err != nil || !bytes.Equal(got, want) || report.Passes[0].Changed != length || report.Passes[1].Changed != length {
		t.Errorf("%d bytes, %+v, %v", len(got), report, err)
	}
}

// TestSharedWithoutEnd has so many convolutions of one filter that copies of it
// would outgrow everything.
func TestSharedWithoutEnd(t *testing.T) {
	var b bytes.Buffer
	b.Write(x3)
	b.Write(filter("w", 64, 64, 3, 128)) // 6 MB
	b.Write(statistics("", 128))
	var outputs []string
	for i := range 10 {
		c, n := "c"+strconv.Itoa(i), "n"+strconv.Itoa(i)
		b.Write(conv(c, "x", "w"))
		b.Write(fused("FusedBatchNorm", n, c, "", inference))
		outputs = append(outputs, n)
	}
	got, report, err := run(t, b.Bytes(), []string{"x"}, outputs, allGuards)
	if err != nil || len(got) > 3*b.Len()+32<<20 {
		t.Fatalf("%d bytes of %d, %v", len(got), b.Len(), err)
	}
	p := report.Passes[2]
	if p.Changed != 4 || len(p.Left) != 6 || p.Left[0].Guard != "G3" || !strings.Contains(p.Left[0].Reason, "copies of them would outgrow the graph") {
		t.Errorf("%+v", p)
	}
}
