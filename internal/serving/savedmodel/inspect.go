package savedmodel

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
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
	Assets     []string    `json:"assets"`       // files in the directory assets that the graph reads
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
	w := graphwire.NewWindow(r, size)
	switch kind {
	case FrozenGraph:
		err = info.frozen(w)
	case SavedModel:
		err = info.savedModel(w)
	case FrozenGraphText, SavedModelText:
		err = graphwire.FormatErrorf(-1, "%s", kind.notFrozen())
	}
	if err != nil {
		return nil, fmt.Errorf("inspect model: %w", err)
	}
	info.Servable = len(info.Problems) == 0
	return info, nil
}

func (info *GraphInfo) frozen(w *graphwire.Window) error {
	g, err := graphwire.ReadGraph(w, 0, w.Size)
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
	warnings, err := checkServable(g, inputs, outputs)
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
func (info *GraphInfo) describe(g *graphwire.Graph) (inputs, outputs []resolved, err error) {
	info.Nodes += len(g.Nodes)
	info.Producer, info.MinConsumer = g.Producer, g.MinConsume
	info.Functions, info.Variables = []string{}, []string{}
	info.Inputs, info.Outputs = []SignatureTensor{}, []SignatureTensor{}
	counts := map[string]*OpCount{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		c := counts[n.Op]
		if c == nil {
			c = &OpCount{Op: n.Op}
			counts[n.Op] = c
		}
		c.Count++
		c.Bytes += n.End - n.Start
		if needsState[n.Op] == "variable" && len(info.Variables) < graphwire.MaxListed {
			info.Variables = append(info.Variables, n.Name)
		}
		if strings.HasPrefix(n.Op, "FusedBatchNorm") && !strings.Contains(n.Op, "Grad") || n.Op == "BatchNormWithGlobalNormalization" {
			info.BatchNorms++
		}
	}
	for _, c := range counts {
		info.Operations = append(info.Operations, *c)
	}
	slices.SortFunc(info.Operations, func(x, y OpCount) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), strings.Compare(x.Op, y.Op))
	})
	for _, f := range g.Functions {
		info.Functions = append(info.Functions, f.Name)
	}
	in := newInference(g)
	for _, i := range placeholders(g) {
		if inputs, err = appendTensor(inputs, in, graphwire.Edge{Node: i}); err != nil {
			return nil, nil, err
		}
	}
	for _, i := range sinks(g) {
		if outputs, err = appendTensor(outputs, in, graphwire.Edge{Node: i}); err != nil {
			return nil, nil, err
		}
	}
	info.Inputs = append(info.Inputs, signatureTensors(inputs)...)
	info.Outputs = append(info.Outputs, signatureTensors(outputs)...)
	return inputs, outputs, nil
}

// appendTensor appends a tensor with what is known of it; its key is its
// node's name.
func appendTensor(list []resolved, in *inference, at graphwire.Edge) ([]resolved, error) {
	t, err := in.of(at)
	if err != nil {
		return nil, err
	}
	return append(list, resolved{at: at, SignatureTensor: SignatureTensor{
		Key: in.g.Nodes[at.Node].Name, Tensor: in.g.TensorName(at), DType: t.DType, Shape: t.Shape,
	}}), nil
}

// savedModel describes the graphs of a SavedModel, and its state as that of the
// graph tagged "serve".
func (info *GraphInfo) savedModel(w *graphwire.Window) error {
	m := graphwire.NewMessage(w, "SavedModel", 0, w.Size)
	var serving *graphwire.Graph
	err := m.Each(func(f graphwire.Field) error {
		switch f.Num {
		case savedModelSchema:
			return m.Want(f, protowire.VarintType)
		case savedModelGraphs:
			if err := m.Want(f, protowire.BytesType); err != nil {
				return err
			}
			if len(info.MetaGraphs) == graphwire.MaxListed {
				return graphwire.FormatErrorf(f.Start, "SavedModel: more than %d graphs", graphwire.MaxListed)
			}
			meta, at, err := readMetaGraph(m.Sub(f, "MetaGraphDef"))
			if err != nil {
				return err
			}
			info.MetaGraphs = append(info.MetaGraphs, meta)
			if at.Num != 0 && (serving == nil || slices.Equal(meta.Tags, []string{Tag})) {
				serving, err = graphwire.ReadGraph(w, at.Off, at.End())
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if serving == nil {
		return graphwire.FormatErrorf(-1, "the SavedModel has no graph")
	}
	if _, _, err := info.describe(serving); err != nil {
		return err
	}
	info.checkSavedModel()
	return info.problem(serving.Problems.Err())
}

// EmbeddedGraph finds the graph of a SavedModel with one graph: the bytes that
// [Convert] was given.
func EmbeddedGraph(r io.ReaderAt, size int64) (*io.SectionReader, error) {
	m := graphwire.NewMessage(graphwire.NewWindow(r, size), "SavedModel", 0, size)
	var graph graphwire.Field
	graphs := 0
	err := m.Each(func(f graphwire.Field) error {
		if f.Num != savedModelGraphs {
			return nil
		}
		if err := m.Want(f, protowire.BytesType); err != nil {
			return err
		}
		graphs++
		var err error
		_, graph, err = readMetaGraph(m.Sub(f, "MetaGraphDef"))
		return err
	})
	if err == nil && (graphs != 1 || graph.Num == 0) {
		err = graphwire.FormatErrorf(-1, "the SavedModel has %d graphs, want one", graphs)
	}
	if err != nil {
		return nil, fmt.Errorf("read saved model: %w", err)
	}
	return io.NewSectionReader(r, graph.Off, graph.Length), nil
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
func readMetaGraph(m graphwire.Message) (meta MetaGraph, graph graphwire.Field, err error) {
	meta.Tags, meta.Signatures, meta.Assets = []string{}, []Signature{}, []string{}
	err = m.Each(func(f graphwire.Field) error {
		switch f.Num {
		case metaInfo, metaGraph, metaSignatures, metaAssets, metaObjects:
			if err := m.Want(f, protowire.BytesType); err != nil {
				return err
			}
		}
		switch f.Num {
		case metaInfo:
			info := m.Sub(f, "MetaInfoDef")
			return info.Each(func(f graphwire.Field) (err error) {
				switch f.Num {
				case metaInfoTags:
					var tag string
					if len(meta.Tags) >= graphwire.MaxListed {
						return graphwire.FormatErrorf(f.Start, "MetaInfoDef: more than %d tags", graphwire.MaxListed)
					}
					tag, err = info.Text(f)
					meta.Tags = append(meta.Tags, tag)
				case metaInfoTFVersion:
					meta.TensorFlow, err = info.Text(f)
				}
				return err
			})
		case metaGraph:
			graph = f
		case metaSignatures:
			if len(meta.Signatures) >= graphwire.MaxListed {
				return graphwire.FormatErrorf(f.Start, "MetaGraphDef: more than %d signatures", graphwire.MaxListed)
			}
			s, err := readSignature(m.Sub(f, "SignatureDef"))
			meta.Signatures = append(meta.Signatures, s)
			return err
		case metaAssets:
			if len(meta.Assets) >= graphwire.MaxListed {
				return graphwire.FormatErrorf(f.Start, "MetaGraphDef: more than %d assets", graphwire.MaxListed)
			}
			asset := m.Sub(f, "AssetFileDef")
			return asset.Each(func(f graphwire.Field) error {
				if f.Num != assetFileName {
					return nil
				}
				name, err := asset.Text(f)
				meta.Assets = append(meta.Assets, name)
				return err
			})
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
func entry(m graphwire.Message, value func(graphwire.Message) error) (key string, err error) {
	err = m.Each(func(f graphwire.Field) (err error) {
		switch f.Num {
		case graphwire.MapKey:
			key, err = m.Text(f)
		case graphwire.MapValue:
			if err = m.Want(f, protowire.BytesType); err == nil {
				err = value(m.Sub(f, "map entry"))
			}
		}
		return err
	})
	return key, err
}

func readSignature(m graphwire.Message) (s Signature, err error) {
	s.Inputs, s.Outputs = []SignatureTensor{}, []SignatureTensor{}
	s.Key, err = entry(m, func(m graphwire.Message) error {
		return m.Each(func(f graphwire.Field) (err error) {
			switch f.Num {
			case signatureInputs:
				s.Inputs, err = appendInfo(s.Inputs, &m, f)
			case signatureOutputs:
				s.Outputs, err = appendInfo(s.Outputs, &m, f)
			case signatureMethod:
				s.Method, err = m.Text(f)
			}
			return err
		})
	})
	for _, side := range [][]SignatureTensor{s.Inputs, s.Outputs} {
		slices.SortFunc(side, func(x, y SignatureTensor) int { return strings.Compare(x.Key, y.Key) })
	}
	return s, err
}

func appendInfo(list []SignatureTensor, parent *graphwire.Message, f graphwire.Field) ([]SignatureTensor, error) {
	if err := parent.Want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	if len(list) >= graphwire.MaxListed {
		return nil, graphwire.FormatErrorf(f.Start, "SignatureDef: more than %d tensors", graphwire.MaxListed)
	}
	var t SignatureTensor
	var err error
	t.Key, err = entry(parent.Sub(f, "TensorInfo"), func(m graphwire.Message) error {
		return m.Each(func(f graphwire.Field) (err error) {
			switch f.Num {
			case infoName:
				t.Tensor, err = m.Text(f)
			case infoDType:
				t.DType, err = graphwire.DataTypeOf(f.Value), m.Want(f, protowire.VarintType)
			case infoShape:
				t.Shape, err = graphwire.ReadShape(&m, f)
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
