package graphopt

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// randomGraph is a chain of layers such as exporters write, with everything that
// the guards look for now and then: readers of inner tensors, normalisations that
// train, shared filters, Identity nodes that are outputs or awaited.
type randomGraph struct {
	t        *rapid.T
	parts    [][]byte
	outputs  []string
	n        int
	channels int
	filters  map[string]string // by shape, to share
}

func (g *randomGraph) name(kind string) string { g.n++; return fmt.Sprintf("%s%d", kind, g.n) }

func (g *randomGraph) chance(percent int, what string) bool {
	return rapid.IntRange(0, 99).Draw(g.t, what) < percent
}

func (g *randomGraph) vector(kind string, n int, from, to float32) string {
	name := g.name(kind)
	g.parts = append(g.parts, vector(name, rapid.SliceOfN(rapid.Float32Range(from, to), n, n).Draw(g.t, name)...))
	return name
}

func (g *randomGraph) read(name string) string {
	if g.chance(40, "read") {
		id := g.name("read")
		g.parts = append(g.parts, graphtest.Node(id, "Identity", []string{name}, tFloat))
		return id
	}
	return name
}

func (g *randomGraph) node(op string, inputs ...string) string {
	name := g.name(op)
	g.parts = append(g.parts, graphtest.Node(name, op, inputs, tFloat))
	return name
}

func (g *randomGraph) convolution(x string) string {
	op, out := "Conv2D", rapid.IntRange(1, 3).Draw(g.t, "out")
	channels := out
	if g.chance(40, "depthwise") {
		op, channels = "DepthwiseConv2dNative", out*g.channels
	}
	if channels > 12 {
		op, channels = "Conv2D", out
	}
	shape := fmt.Sprint(g.channels, out)
	w, ok := g.filters[shape]
	if !ok || !g.chance(30, "share") {
		w = g.name("w")
		count := 4 * g.channels * out
		g.parts = append(g.parts, graphtest.Const(w, graphtest.Float32, graphtest.Dims(2, 2, int64(g.channels), int64(out)),
			graphtest.Floats(rapid.SliceOfN(rapid.Float32Range(-1, 1), count, count).Draw(g.t, w)...)))
		g.filters[shape] = w
	}
	g.channels = channels
	return g.node(op, x, g.read(w))
}

func (g *randomGraph) normalisation(x string) string {
	n := g.channels
	gamma, beta := g.vector("gamma", n, 0.5, 2), g.vector("beta", n, -1, 1)
	mean, variance := g.vector("mean", n, -1, 1), g.vector("variance", n, 0.3, 3)
	name := g.name("bn")
	switch form := rapid.IntRange(0, 5).Draw(g.t, "form"); form {
	case 0, 1, 2:
		op := []string{"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}[form]
		in := []string{x, g.read(gamma), beta, g.read(mean), variance}
		g.parts = append(g.parts, graphtest.Node(name, op, in, tFloat, graphtest.FloatAttr("epsilon", 0.001), graphtest.BoolAttr("is_training", g.chance(10, "training"))))
		if g.chance(10, "statistics") {
			g.outputs = append(g.outputs, name+":1")
		}
	case 3:
		g.parts = append(g.parts, graphtest.Node(name, "BatchNormWithGlobalNormalization", []string{x, mean, variance, beta, gamma}, tFloat,
			graphtest.FloatAttr("variance_epsilon", 0.001), graphtest.BoolAttr("scale_after_normalization", g.chance(50, "scale"))))
	default:
		eps := g.name("eps")
		g.parts = append(g.parts, scalar(eps, 0.001))
		add := []string{"Add", "AddV2"}[form-4]
		m := g.node("Mul", g.node("Rsqrt", g.node(add, variance, eps)), gamma)
		product := g.node("Mul", x, m)
		if g.chance(10, "inner") {
			g.outputs = append(g.outputs, product)
		}
		shift := g.node("Sub", beta, g.node("Mul", mean, m))
		g.parts = append(g.parts, graphtest.Node(name, add, []string{product, shift}, tFloat))
	}
	return name
}

func (g *randomGraph) build() []byte {
	x := "x"
	for range rapid.IntRange(1, 7).Draw(g.t, "layers") {
		switch rapid.IntRange(0, 6).Draw(g.t, "layer") {
		case 0, 1, 2:
			x = g.convolution(x)
			if g.chance(30, "bias") {
				op := rapid.SampledFrom([]string{"BiasAdd", "Add", "AddV2"}).Draw(g.t, "op")
				x = g.node(op, x, g.vector("bias", g.channels, -1, 1))
			}
			if g.chance(80, "normalise") {
				if g.chance(20, "between") {
					x = g.node("Identity", x)
				}
				x = g.normalisation(x)
			}
		case 3:
			x = g.node("Relu", x)
		case 4:
			x = g.node(rapid.SampledFrom([]string{"Identity", "CheckNumerics"}).Draw(g.t, "op"), x)
			if g.chance(30, "awaited") {
				x = g.node("Relu", x, "^"+x)
			}
		case 5:
			x = g.normalisation(x)
		case 6:
			g.node("Relu", x) // read by one that nobody reads
		}
		if g.chance(15, "output") {
			g.outputs = append(g.outputs, x)
		}
	}
	g.outputs = append(g.outputs, x)
	return graphtest.Graph(append([][]byte{graphtest.Placeholder("x", graphtest.Float32, 1, 3, 3, 2)}, g.parts...)...)
}

// TestRandomGraphs evaluates random graphs before and after.
func TestRandomGraphs(t *testing.T) {
	folded := 0
	rapid.Check(t, func(t *rapid.T) {
		r := &randomGraph{t: t, channels: 2, filters: map[string]string{}}
		data := r.build()
		g, err := graphwire.OpenGraph(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		sig := Signature{Inputs: []Feed{{Tensor: graphwire.Edge{Node: 0}, DType: graphwire.Float32}}}
		for _, out := range r.outputs {
			name, port, _ := graphwire.SplitTensorName(out)
			sig.Outputs = append(sig.Outputs, graphwire.Edge{Node: g.ByName[name], Port: port})
		}
		o, err := Optimize(g, sig)
		if err != nil {
			t.Fatal(err)
		}
		var after bytes.Buffer
		if _, err := o.WriteTo(&after); err != nil {
			t.Fatal(err)
		}
		folded += o.Report().Passes[2].Changed
		in := map[string]array{"x:0": feedOf(1, 3, 3, 2)}
		a, b := newEvaluator(t, data, in), newEvaluator(t, after.Bytes(), in)
		for _, out := range r.outputs {
			want, err := a.run(out)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.run(out)
			if err != nil {
				t.Fatal(err)
			}
			if d := difference(want, got); d > 1e-4 { // seven layers of float32 weights
				t.Fatalf("%s: difference %g; report %+v", out, d, o.Report())
			}
		}
	})
	if folded == 0 {
		t.Error("no random graph had a normalisation to fold")
	}
}
