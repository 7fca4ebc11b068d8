package savedmodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// What TensorFlow Serving looks for (tensorflow/cc/saved_model/constants.h,
// tensorflow_serving/servables/tensorflow/predict_util.cc).
const (
	Tag           = "serve"
	SignatureKey  = "serving_default"
	PredictMethod = "tensorflow/serving/predict"
)

// The keys of a single input and a single output, which the Confidential
// Computing Zoo's conversion script and clients agree on.
const (
	DefaultInputKey  = "input"
	DefaultOutputKey = "predict"
)

// Role says which side of a signature a tensor is on.
type Role uint8

// The two sides of a signature.
const (
	Input Role = iota + 1
	Output
)

func (r Role) String() string {
	if r == Output {
		return "output"
	}
	return "input"
}

// TensorSpec names a tensor of the graph for a signature.
type TensorSpec struct {
	Key   string   // in the signature; empty: see [Options]
	Node  string   // name of the node
	Port  int32    // which of its outputs
	DType DataType // states what does not follow from the graph; Invalid: it follows
	Shape Shape    // likewise; narrows an unknown shape
}

// Equal tells that two specs ask for the same, key and all.
func (s TensorSpec) Equal(o TensorSpec) bool {
	return s.Key == o.Key && s.Node == o.Node && s.Port == o.Port && s.DType == o.DType &&
		s.Shape.Known == o.Shape.Known && slices.Equal(s.Shape.Dims, o.Shape.Dims)
}

// ParseTensorSpec reads [key=]node[:port][@dtype[shape]], such as "predict",
// "scores=detect:1" or "image=decode@float32[-1,224,224,3]".
func ParseTensorSpec(s string) (TensorSpec, error) {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("parse tensor %q: %s; want [key=]node[:port][@dtype[shape]], such as scores=detect:1@float32[-1,10]",
			s, fmt.Sprintf(format, args...))
	}
	var spec TensorSpec
	rest := s
	if key, after, ok := strings.Cut(rest, "="); ok {
		if key == "" {
			return TensorSpec{}, fail("the key is empty")
		}
		spec.Key, rest = key, after
	}
	name, typ, typed := strings.Cut(rest, "@")
	node, port, ok := graphwire.SplitTensorName(name)
	switch {
	case name == "":
		return TensorSpec{}, fail("the node's name is empty")
	case !ok:
		return TensorSpec{}, fail("%q does not end in a port number", name)
	case port == graphwire.ControlPort:
		return TensorSpec{}, fail("a control edge carries no tensor")
	case !graphwire.ValidNodeName(node):
		return TensorSpec{}, fail("%q is not a node's name", node)
	}
	spec.Node, spec.Port = node, port
	if !typed {
		return spec, nil
	}
	dtype, dims, shaped := strings.Cut(typ, "[")
	var err error
	if spec.DType, err = ParseDataType(dtype); err != nil {
		return TensorSpec{}, fail("%v", err)
	}
	if !shaped {
		return spec, nil
	}
	dims, closed := strings.CutSuffix(dims, "]")
	if !closed {
		return TensorSpec{}, fail("the shape does not end in ]")
	}
	spec.Shape = ShapeOf()
	if dims == "" {
		return spec, nil
	}
	for d := range strings.SplitSeq(dims, ",") {
		size, err := strconv.ParseInt(strings.TrimSpace(d), 10, 64)
		if err != nil || size < -1 || len(spec.Shape.Dims) == graphwire.MaxRank {
			return TensorSpec{}, fail("%q is not a dimension: a size, or -1 where it varies", d)
		}
		spec.Shape.Dims = append(spec.Shape.Dims, size)
	}
	return spec, nil
}

// ParseTensorSpecs reads a list separated by commas; those between brackets
// separate dimensions.
func ParseTensorSpecs(s string) ([]TensorSpec, error) {
	var specs []TensorSpec
	for depth, start, i := 0, 0, 0; i <= len(s); i++ {
		if i < len(s) {
			switch s[i] {
			case '[':
				depth++
			case ']':
				depth--
			}
			if s[i] != ',' || depth > 0 {
				continue
			}
		}
		spec, err := ParseTensorSpec(strings.TrimSpace(s[start:i]))
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
		start = i + 1
	}
	return specs, nil
}

// WithKeys is what a list of specs stands for: none is the node "input" or
// "predict", and a spec without key gets the one that [Options] tells.
func WithKeys(role Role, specs []TensorSpec) []TensorSpec {
	key := DefaultInputKey
	if role == Output {
		key = DefaultOutputKey
	}
	if len(specs) == 0 {
		return []TensorSpec{{Key: key, Node: key}}
	}
	keyed := slices.Clone(specs)
	for i := range keyed {
		switch {
		case keyed[i].Key != "":
		case len(specs) > 1:
			keyed[i].Key = keyed[i].Node
		default:
			keyed[i].Key = key
		}
	}
	return keyed
}

// Tensor is the node and port, as a signature names it.
func (s TensorSpec) Tensor() string { return s.Node + ":" + strconv.Itoa(int(s.Port)) }

// String is the form that [ParseTensorSpec] reads.
func (s TensorSpec) String() string {
	var b strings.Builder
	if s.Key != "" {
		b.WriteString(s.Key + "=")
	}
	b.WriteString(s.Node)
	if s.Port != 0 {
		fmt.Fprintf(&b, ":%d", s.Port)
	}
	if s.DType != Invalid {
		b.WriteString("@" + s.DType.String())
		if s.Shape.Known {
			b.WriteString(s.Shape.String())
		}
	}
	return b.String()
}

// SignatureTensor is one entry of a signature.
type SignatureTensor struct {
	Key    string   `json:"key"`
	Tensor string   `json:"tensor"` // node:port, or what stands for several tensors
	DType  DataType `json:"dtype"`
	Shape  Shape    `json:"shape"`
}

// A TensorError says that a tensor named for the signature cannot be in it.
type TensorError struct {
	Role   Role
	Tensor string // as named by the caller
	Reason string // what is wrong and what to do
}

func (e *TensorError) Error() string {
	return fmt.Sprintf("%s %q: %s", e.Role, e.Tensor, e.Reason)
}

// resolved is one tensor of the signature with its place in the graph.
type resolved struct {
	SignatureTensor
	at graphwire.Edge
}

// resolve finds the tensors of one side of the signature in the graph.
func resolve(in *inference, role Role, specs []TensorSpec) ([]resolved, error) {
	var tensors []resolved
	keyed := WithKeys(role, specs)
	for i, spec := range keyed {
		if len(specs) > 0 {
			spec = specs[i] // errors speak of what the caller wrote
		}
		t, err := resolveOne(in, role, spec)
		if err != nil {
			return nil, err
		}
		t.Key = keyed[i].Key
		for _, o := range tensors {
			switch {
			case o.at == t.at && role == Input:
				return nil, &TensorError{role, spec.String(), "it is named twice, but a tensor can be fed once"}
			case o.Key == t.Key:
				return nil, &TensorError{role, spec.String(), fmt.Sprintf("its key %q is also that of %s: give it another, as in other=%s", t.Key, o.Tensor, spec)}
			}
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

func resolveOne(in *inference, role Role, spec TensorSpec) (resolved, error) {
	fail := func(format string, args ...any) (resolved, error) {
		return resolved{}, &TensorError{role, spec.String(), fmt.Sprintf(format, args...)}
	}
	index, ok := in.g.ByName[spec.Node]
	if !ok {
		return fail("the graph has no node %q; %s", spec.Node, suggest(in.g, role))
	}
	at := graphwire.Edge{Node: index, Port: spec.Port}
	n := &in.g.Nodes[index]
	a, err := in.g.ReadAttrs(n)
	if err != nil {
		return resolved{}, err
	}
	if _, err := outputDType(n, &a, at.Port); err != nil {
		return fail("%v", err)
	}
	t, err := in.of(at)
	if err != nil {
		return resolved{}, err
	}
	dtype, shape := t.DType, t.Shape
	if spec.DType != Invalid {
		if dtype != Invalid && dtype != spec.DType {
			return fail("the graph says that it is %s", dtype)
		}
		dtype = spec.DType
	}
	if spec.Shape.Known {
		if !shape.Compatible(spec.Shape) {
			return fail("the graph says that its shape is %s", shape)
		}
		shape = spec.Shape
	}
	switch dtype {
	case Invalid:
		return fail("its dtype does not follow from the graph, because the operation %s is not known here: state it, as in %s@float32", n.Op, spec)
	case Resource, Variant:
		return fail("it is a %s, which no client can send or receive", dtype)
	default:
		return resolved{at: at, SignatureTensor: SignatureTensor{Tensor: in.g.TensorName(at), DType: dtype, Shape: shape}}, nil
	}
}

// suggest lists what a missing tensor may have been meant to be.
func suggest(g *graphwire.Graph, role Role) string {
	what, candidates := "its placeholders are", placeholders(g)
	if role == Output {
		what, candidates = "nodes that nobody consumes are", sinks(g)
	}
	if len(candidates) == 0 {
		return "it has no " + map[Role]string{Input: "placeholders", Output: "node that nobody consumes"}[role]
	}
	var names []string
	for _, i := range candidates {
		if len(names) == 8 {
			names = append(names, fmt.Sprintf("and %d more", len(candidates)-len(names)))
			break
		}
		names = append(names, g.Nodes[i].Name)
	}
	return what + " " + strings.Join(names, ", ")
}

// Field numbers of meta_graph.proto.
const (
	signatureInputs  = 1
	signatureOutputs = 2
	signatureMethod  = 3

	infoName      = 1
	infoDType     = 2
	infoShape     = 3
	infoSparse    = 4
	infoComposite = 5
)

// encodeSignature is a SignatureDef, map entries in the order of their keys.
func encodeSignature(inputs, outputs []resolved) []byte {
	var b []byte
	for _, side := range []struct {
		num     protowire.Number
		tensors []resolved
	}{{signatureInputs, inputs}, {signatureOutputs, outputs}} {
		sorted := slices.Clone(side.tensors)
		slices.SortFunc(sorted, func(x, y resolved) int { return strings.Compare(x.Key, y.Key) })
		for _, t := range sorted {
			info := graphwire.AppendString(nil, infoName, t.Tensor)
			info = protowire.AppendTag(info, infoDType, protowire.VarintType)
			info = protowire.AppendVarint(info, uint64(t.DType)) // One of dataTypeNames.
			info = graphwire.AppendBytes(info, infoShape, graphwire.EncodeShape(t.Shape))
			entry := graphwire.AppendBytes(graphwire.AppendString(nil, graphwire.MapKey, t.Key), graphwire.MapValue, info)
			b = graphwire.AppendBytes(b, side.num, entry)
		}
	}
	return graphwire.AppendString(b, signatureMethod, PredictMethod)
}
