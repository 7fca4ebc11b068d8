package savedmodel

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// GraphInfo is what can be told about a model file without running it.
type GraphInfo struct {
	Kind Kind  `json:"kind"`
	Size int64 `json:"size"` // of the file in bytes

	Nodes       int       `json:"nodes"`
	Producer    int64     `json:"producer"`     // GraphDef version that the graph was made for, 0 if it does not say
	MinConsumer int64     `json:"min_consumer"` // oldest GraphDef version that may run it
	Operations  []OpCount `json:"operations"`   // most bytes first
	Functions   []string  `json:"functions"`    // names in the function library
	Variables   []string  `json:"variables"`    // nodes whose values are not in the graph
	BatchNorms  int       `json:"batch_norms"`  // normalisations that are nodes of their own

	// Inputs and Outputs are those of a SavedModel's default signature. Where
	// there is none, as in a frozen graph, they are its placeholders and the
	// tensors that nobody consumes.
	Inputs  []SignatureTensor `json:"inputs"`
	Outputs []SignatureTensor `json:"outputs"`

	MetaGraphs []MetaGraph `json:"meta_graphs,omitempty"` // of a SavedModel

	// Servable says whether TensorFlow Serving could run the graph from Inputs to
	// Outputs; Problems say why not.
	Servable bool      `json:"servable"`
	Problems []Problem `json:"problems"`
	Warnings []string  `json:"warnings"`
}

// OpCount counts the nodes of one operation.
type OpCount struct {
	Op    string `json:"op"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"` // of the nodes, attributes included
}

// MetaGraph is one graph of a SavedModel with what a loader needs to know.
type MetaGraph struct {
	Tags       []string    `json:"tags"`
	TensorFlow string      `json:"tensorflow_version"` // that wrote it; empty if it does not say
	Signatures []Signature `json:"signatures"`
	Objects    bool        `json:"object_graph"` // saved by TensorFlow 2
}

// Signature is one way to call a SavedModel.
type Signature struct {
	Key     string            `json:"key"`
	Method  string            `json:"method"`
	Inputs  []SignatureTensor `json:"inputs"`
	Outputs []SignatureTensor `json:"outputs"`
}

// Inspect describes a frozen graph or SavedModel of size bytes. What keeps it
// from being served is in the result; the error is a [*FormatError] for a file
// that is neither or damaged, or of reading.
func Inspect(r io.ReaderAt, size int64) (*GraphInfo, error) {
	kind, err := Detect(r, size)
	if err != nil {
		return nil, fmt.Errorf("inspect model: %w", err)
	}
	info := &GraphInfo{Kind: kind, Size: size, Problems: []Problem{}, Warnings: []string{}}
	w := newWindow(r, size)
	switch kind {
	case FrozenGraph:
		err = info.frozen(w)
	case SavedModel:
		err = info.savedModel(w)
	case FrozenGraphText, SavedModelText:
		err = formatErrorf(-1, "%s", kind.notFrozen())
	}
	if err != nil {
		return nil, fmt.Errorf("inspect model: %w", err)
	}
	info.Servable = len(info.Problems) == 0
	return info, nil
}

func (info *GraphInfo) frozen(w *window) error {
	g, err := readGraph(w, 0, w.size)
	if err != nil {
		return err
	}
	inputs, outputs, err := info.describe(g)
	if err != nil {
		return err
	}
	if len(outputs) == 0 {
		info.Problems = append(info.Problems, Problem{Reason: "every node is consumed by another, so no output stands out", Remedy: "name the outputs"})
		return nil
	}
	warnings, err := g.checkServable(inputs, outputs)
	info.Warnings = append(info.Warnings, warnings...)
	return info.problem(err)
}

// problem keeps what is wrong with a graph and returns other errors.
func (info *GraphInfo) problem(err error) error {
	if ns, ok := err.(*NotServableError); ok { //nolint:errorlint // As checkServable returns it.
		info.Problems = append(info.Problems, ns.Problems...)
		if ns.More > 0 {
			info.Problems = append(info.Problems, Problem{Reason: fmt.Sprintf("and %d problems more", ns.More), Remedy: "solve those above first"})
		}
		return nil
	}
	return err
}

// describe counts the nodes of a graph and lists its ends.
func (info *GraphInfo) describe(g *graph) (inputs, outputs []resolved, err error) {
	info.Nodes += len(g.nodes)
	info.Producer, info.MinConsumer = g.producer, g.minConsume
	info.Functions, info.Variables = []string{}, []string{}
	info.Inputs, info.Outputs = []SignatureTensor{}, []SignatureTensor{}
	counts := map[string]*OpCount{}
	for i := range g.nodes {
		n := &g.nodes[i]
		c := counts[n.op]
		if c == nil {
			c = &OpCount{Op: n.op}
			counts[n.op] = c
		}
		c.Count++
		c.Bytes += n.end - n.start
		if needsState[n.op] == "variable" && len(info.Variables) < maxListed {
			info.Variables = append(info.Variables, n.name)
		}
		if strings.HasPrefix(n.op, "FusedBatchNorm") && !strings.Contains(n.op, "Grad") || n.op == "BatchNormWithGlobalNormalization" {
			info.BatchNorms++
		}
	}
	for _, c := range counts {
		info.Operations = append(info.Operations, *c)
	}
	slices.SortFunc(info.Operations, func(x, y OpCount) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), strings.Compare(x.Op, y.Op))
	})
	for _, f := range g.functions {
		info.Functions = append(info.Functions, f.name)
	}
	in := newInference(g)
	for _, i := range g.placeholders() {
		if inputs, err = appendTensor(inputs, in, edge{node: i}); err != nil {
			return nil, nil, err
		}
	}
	for _, i := range g.sinks() {
		if outputs, err = appendTensor(outputs, in, edge{node: i}); err != nil {
			return nil, nil, err
		}
	}
	info.Inputs = append(info.Inputs, signatureTensors(inputs)...)
	info.Outputs = append(info.Outputs, signatureTensors(outputs)...)
	return inputs, outputs, nil
}

// appendTensor appends a tensor with what is known of it; its key is its
// node's name.
func appendTensor(list []resolved, in *inference, at edge) ([]resolved, error) {
	t, err := in.of(at)
	if err != nil {
		return nil, err
	}
	return append(list, resolved{at: at, SignatureTensor: SignatureTensor{
		Key: in.g.nodes[at.node].name, Tensor: in.g.tensorName(at), DType: t.DType, Shape: t.Shape,
	}}), nil
}

// savedModel describes the graphs of a SavedModel, and its state as that of the
// graph tagged "serve".
func (info *GraphInfo) savedModel(w *window) error {
	m := message{w: w, name: "SavedModel", end: w.size}
	var serving *graph
	err := m.each(func(f field) error {
		switch f.num {
		case savedModelSchema:
			return m.want(f, protowire.VarintType)
		case savedModelGraphs:
			if err := m.want(f, protowire.BytesType); err != nil {
				return err
			}
			if len(info.MetaGraphs) == maxListed {
				return formatErrorf(f.start, "SavedModel: more than %d graphs", maxListed)
			}
			meta, at, err := readMetaGraph(m.sub(f, "MetaGraphDef"))
			if err != nil {
				return err
			}
			info.MetaGraphs = append(info.MetaGraphs, meta)
			if at.num != 0 && (serving == nil || slices.Equal(meta.Tags, []string{Tag})) {
				serving, err = readGraph(w, at.off, at.end())
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if serving == nil {
		return formatErrorf(-1, "the SavedModel has no graph")
	}
	if _, _, err := info.describe(serving); err != nil {
		return err
	}
	info.checkSavedModel()
	return info.problem(serving.problems.err())
}

// EmbeddedGraph finds the graph of a SavedModel with one graph: the bytes that
// [Convert] was given.
func EmbeddedGraph(r io.ReaderAt, size int64) (*io.SectionReader, error) {
	m := message{w: newWindow(r, size), name: "SavedModel", end: size}
	var graph field
	graphs := 0
	err := m.each(func(f field) error {
		if f.num != savedModelGraphs {
			return nil
		}
		if err := m.want(f, protowire.BytesType); err != nil {
			return err
		}
		graphs++
		var err error
		_, graph, err = readMetaGraph(m.sub(f, "MetaGraphDef"))
		return err
	})
	if err == nil && (graphs != 1 || graph.num == 0) {
		err = formatErrorf(-1, "the SavedModel has %d graphs, want one", graphs)
	}
	if err != nil {
		return nil, fmt.Errorf("read saved model: %w", err)
	}
	return io.NewSectionReader(r, graph.off, graph.length), nil
}

// checkSavedModel holds the SavedModel against what TensorFlow Serving asks for
// by default.
func (info *GraphInfo) checkSavedModel() {
	i := slices.IndexFunc(info.MetaGraphs, func(m MetaGraph) bool { return slices.Equal(m.Tags, []string{Tag}) })
	if i < 0 {
		info.Problems = append(info.Problems, Problem{
			Reason: "no graph is tagged exactly \"" + Tag + "\"",
			Remedy: "start TensorFlow Serving with --saved_model_tags, or export the model again",
		})
		return
	}
	meta := info.MetaGraphs[i]
	if j := slices.IndexFunc(meta.Signatures, func(s Signature) bool { return s.Key == SignatureKey }); j >= 0 {
		info.Inputs, info.Outputs = meta.Signatures[j].Inputs, meta.Signatures[j].Outputs
	} else {
		info.Warnings = append(info.Warnings, "no signature is called "+SignatureKey+": every request must name one")
	}
	for _, s := range meta.Signatures {
		if !strings.HasPrefix(s.Method, "tensorflow/serving/") && s.Key != "__saved_model_init_op" {
			info.Warnings = append(info.Warnings, fmt.Sprintf("signature %q has the method %q, which TensorFlow Serving does not call", s.Key, s.Method))
		}
	}
	if len(info.Variables) > 0 {
		info.Warnings = append(info.Warnings, fmt.Sprintf("%d variables: their values are in the variables directory, which belongs to the model", len(info.Variables)))
	}
}

// readMetaGraph reads everything of a MetaGraphDef but its graph, whose field
// it returns.
func readMetaGraph(m message) (meta MetaGraph, graph field, err error) {
	meta.Tags, meta.Signatures = []string{}, []Signature{}
	err = m.each(func(f field) error {
		switch f.num {
		case metaInfo, metaGraph, metaSignatures, metaObjects:
			if err := m.want(f, protowire.BytesType); err != nil {
				return err
			}
		}
		switch f.num {
		case metaInfo:
			info := m.sub(f, "MetaInfoDef")
			return info.each(func(f field) (err error) {
				switch f.num {
				case metaInfoTags:
					var tag string
					if len(meta.Tags) >= maxListed {
						return formatErrorf(f.start, "MetaInfoDef: more than %d tags", maxListed)
					}
					tag, err = info.text(f)
					meta.Tags = append(meta.Tags, tag)
				case metaInfoTFVersion:
					meta.TensorFlow, err = info.text(f)
				}
				return err
			})
		case metaGraph:
			graph = f
		case metaSignatures:
			if len(meta.Signatures) >= maxListed {
				return formatErrorf(f.start, "MetaGraphDef: more than %d signatures", maxListed)
			}
			s, err := readSignature(m.sub(f, "SignatureDef"))
			meta.Signatures = append(meta.Signatures, s)
			return err
		case metaObjects:
			meta.Objects = true
		}
		return nil
	})
	slices.Sort(meta.Tags)
	slices.SortFunc(meta.Signatures, func(x, y Signature) int { return strings.Compare(x.Key, y.Key) })
	return meta, graph, err
}

// entry reads one entry of a map of messages.
func entry(m message, value func(message) error) (key string, err error) {
	err = m.each(func(f field) (err error) {
		switch f.num {
		case mapKey:
			key, err = m.text(f)
		case mapValue:
			if err = m.want(f, protowire.BytesType); err == nil {
				err = value(m.sub(f, m.name))
			}
		}
		return err
	})
	return key, err
}

func readSignature(m message) (s Signature, err error) {
	s.Inputs, s.Outputs = []SignatureTensor{}, []SignatureTensor{}
	s.Key, err = entry(m, func(m message) error {
		return m.each(func(f field) (err error) {
			switch f.num {
			case signatureInputs:
				s.Inputs, err = appendInfo(s.Inputs, &m, f)
			case signatureOutputs:
				s.Outputs, err = appendInfo(s.Outputs, &m, f)
			case signatureMethod:
				s.Method, err = m.text(f)
			}
			return err
		})
	})
	for _, side := range [][]SignatureTensor{s.Inputs, s.Outputs} {
		slices.SortFunc(side, func(x, y SignatureTensor) int { return strings.Compare(x.Key, y.Key) })
	}
	return s, err
}

func appendInfo(list []SignatureTensor, parent *message, f field) ([]SignatureTensor, error) {
	if err := parent.want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	if len(list) >= maxListed {
		return nil, formatErrorf(f.start, "SignatureDef: more than %d tensors", maxListed)
	}
	var t SignatureTensor
	var err error
	t.Key, err = entry(parent.sub(f, "TensorInfo"), func(m message) error {
		return m.each(func(f field) (err error) {
			switch f.num {
			case infoName:
				t.Tensor, err = m.text(f)
			case infoDType:
				t.DType, err = dataTypeOf(f.value), m.want(f, protowire.VarintType)
			case infoShape:
				t.Shape, err = readShape(&m, f)
			case infoSparse:
				t.Tensor = "(sparse tensor)"
			case infoComposite:
				t.Tensor = "(composite tensor)"
			}
			return err
		})
	})
	return append(list, t), err
}
