package savedmodel

import (
	"bytes"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphopt"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// MaxSize is the largest SavedModel that TensorFlow reads: protocol buffers
// limit a message to 2 GiB less one byte.
const MaxSize = math.MaxInt32

// FileName is the name of a SavedModel's main file in its version directory.
const FileName = "saved_model.pb"

// Options say what a graph is converted to. The zero Options take the node
// "input" for input and the node "predict" for output.
type Options struct {
	// Inputs and Outputs are the tensors of the signature. A key that is empty
	// becomes "input" for a single input, "predict" for a single output, and the
	// node's name where there are several.
	Inputs, Outputs []TensorSpec
	// Optimize rewrites the graph for inference; see package graphopt.
	Optimize bool
}

// Report says what a conversion did.
type Report struct {
	Inputs   []SignatureTensor `json:"inputs"`
	Outputs  []SignatureTensor `json:"outputs"`
	Nodes    int               `json:"nodes"`
	Size     int64             `json:"size"`     // of the SavedModel in bytes
	Warnings []string          `json:"warnings"` // what will work but was perhaps not meant

	Optimization *graphopt.Report `json:"optimization,omitempty"` // nil: the graph is as it was
}

// A SizeError says that the SavedModel would be larger than [MaxSize].
type SizeError struct {
	Size int64 // it would have, in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("the SavedModel would have %d bytes, protocol buffers end at %d: keep the variables in a checkpoint and export a SavedModel "+
		"with a variables directory, or split the model in several", e.Size, int64(MaxSize))
}

// Conversion is a conversion that has been checked and not yet written.
type Conversion struct {
	graph          body
	prefix, suffix []byte
	report         Report
}

// body is the GraphDef that a SavedModel has.
type body interface {
	Size() int64
	io.WriterTo
}

// Prepare reads a frozen graph of size bytes and checks that the SavedModel
// made from it can be served. The graph must not change until it is written.
//
// Errors are a [*FormatError] when the file is not a frozen graph, a
// [*TensorError] when an input or output cannot be in the signature, a
// [*NotServableError] when TensorFlow Serving could not run the graph, a
// [*SizeError], or of reading.
func Prepare(r io.ReaderAt, size int64, opts Options) (*Conversion, error) {
	kind, err := Detect(r, size)
	if err != nil {
		return nil, fmt.Errorf("read graph: %w", err)
	}
	if kind != FrozenGraph {
		return nil, fmt.Errorf("read graph: %w", graphwire.FormatErrorf(-1, "%s", kind.notFrozen()))
	}
	if size > MaxSize {
		return nil, fmt.Errorf("convert graph: %w", &SizeError{Size: size})
	}
	g, err := graphwire.OpenGraph(r, size)
	if err != nil {
		return nil, fmt.Errorf("read graph: %w", err)
	}
	in := newInference(g)
	inputs, err := resolve(in, Input, opts.Inputs)
	if err != nil {
		return nil, fmt.Errorf("make signature: %w", err)
	}
	outputs, err := resolve(in, Output, opts.Outputs)
	if err != nil {
		return nil, fmt.Errorf("make signature: %w", err)
	}
	warnings, err := checkServable(g, inputs, outputs)
	if err != nil {
		return nil, fmt.Errorf("check graph: %w", err)
	}
	c := &Conversion{graph: asItIs{g}, report: Report{
		Inputs: signatureTensors(inputs), Outputs: signatureTensors(outputs), Nodes: len(g.Nodes), Warnings: warnings,
	}}
	if opts.Optimize {
		if err := c.optimize(in, inputs, outputs); err != nil {
			return nil, err
		}
	}
	size = c.graph.Size()
	c.prefix, c.suffix = envelope(size, encodeSignature(inputs, outputs))
	c.report.Size = int64(len(c.prefix)) + size + int64(len(c.suffix))
	if c.report.Size > MaxSize {
		return nil, fmt.Errorf("convert graph: %w", &SizeError{Size: c.report.Size})
	}
	return c, nil
}

// optimize replaces the graph. What the signature says stays as it was read from
// the original.
func (c *Conversion) optimize(in *inference, inputs, outputs []resolved) error {
	var sig graphopt.Signature
	for _, t := range inputs {
		known, err := in.of(t.at) // the shape may be narrower in the signature
		if err != nil {
			return err
		}
		sig.Inputs = append(sig.Inputs, graphopt.Feed{Tensor: t.at, DType: t.DType, Shape: known.Shape})
	}
	for _, t := range outputs {
		sig.Outputs = append(sig.Outputs, t.at)
	}
	optimized, err := graphopt.Optimize(in.g, sig)
	if err != nil {
		return err
	}
	report := optimized.Report()
	c.graph, c.report.Nodes, c.report.Optimization = optimized, report.NodesAfter, &report
	return nil
}

func signatureTensors(resolved []resolved) []SignatureTensor {
	var all []SignatureTensor
	for _, t := range resolved {
		all = append(all, t.SignatureTensor)
	}
	return all
}

// Report says what [Conversion.WriteTo] writes.
func (c *Conversion) Report() Report { return c.report }

// WriteTo writes the SavedModel. It can be called again and writes the same
// bytes.
func (c *Conversion) WriteTo(dst io.Writer) (int64, error) {
	written := int64(0)
	for _, part := range []io.WriterTo{bytes.NewReader(c.prefix), c.graph, bytes.NewReader(c.suffix)} {
		n, err := part.WriteTo(dst)
		written += n
		if err != nil {
			return written, fmt.Errorf("write saved model: %w", err)
		}
	}
	return written, nil
}

// asItIs is a graph whose bytes stay as they are.
type asItIs struct{ g *graphwire.Graph }

func (a asItIs) Size() int64 { return a.g.End - a.g.Start }

// copyBuffer is large enough that system calls do not count, in bytes.
const copyBuffer = 256 << 10

func (a asItIs) WriteTo(dst io.Writer) (int64, error) {
	size := a.Size()
	// Readers that write themselves, and writers that read, would choose smaller
	// buffers.
	n, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{io.NewSectionReader(a.g.W.R, a.g.Start, size)}, make([]byte, min(size, copyBuffer)))
	if err == nil && n != size {
		err = fmt.Errorf("the graph ended after %d of its %d bytes, it was changed while it was read: %w", n, size, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Convert writes the SavedModel of a frozen graph of size bytes. Nothing is
// written unless the graph can be served; errors are those of [Prepare] and of
// dst.
func Convert(dst io.Writer, r io.ReaderAt, size int64, opts Options) (*Report, error) {
	c, err := Prepare(r, size, opts)
	if err != nil {
		return nil, err
	}
	if _, err := c.WriteTo(dst); err != nil {
		return nil, err
	}
	return &c.report, nil
}

// Field numbers of saved_model.proto and meta_graph.proto.
const (
	savedModelSchema = 1
	savedModelGraphs = 2

	metaInfo       = 1
	metaGraph      = 2
	metaCollection = 4
	metaSignatures = 5
	metaAssets     = 6
	metaObjects    = 7

	assetFileName     = 2
	metaInfoTags      = 4
	metaInfoTFVersion = 5
	schemaVersion1    = 1
)

// envelope is what comes before and behind the graph. It names no TensorFlow
// version, for none wrote it, and nothing of the converter's own, so that a
// later release does not make every model a new file.
func envelope(graphSize int64, signature []byte) (prefix, suffix []byte) {
	meta := graphwire.AppendBytes(nil, metaInfo, graphwire.AppendString(nil, metaInfoTags, Tag))
	meta = protowire.AppendTag(meta, metaGraph, protowire.BytesType)
	meta = protowire.AppendVarint(meta, uint64(graphSize)) // Not negative.
	entry := graphwire.AppendBytes(graphwire.AppendString(nil, graphwire.MapKey, SignatureKey), graphwire.MapValue, signature)
	suffix = graphwire.AppendBytes(nil, metaSignatures, entry)

	prefix = protowire.AppendTag(nil, savedModelSchema, protowire.VarintType)
	prefix = protowire.AppendVarint(prefix, schemaVersion1)
	prefix = protowire.AppendTag(prefix, savedModelGraphs, protowire.BytesType)
	prefix = protowire.AppendVarint(prefix, uint64(len(meta))+uint64(graphSize)+uint64(len(suffix))) // Not negative.
	return append(prefix, meta...), suffix
}
