package savedmodel

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func convertBytes(tb testing.TB, data []byte, inputs, outputs string) ([]byte, *Report) {
	tb.Helper()
	var opts Options
	var err error
	if inputs != "" {
		if opts.Inputs, err = ParseTensorSpecs(inputs); err != nil {
			tb.Fatal(err)
		}
	}
	if outputs != "" {
		if opts.Outputs, err = ParseTensorSpecs(outputs); err != nil {
			tb.Fatal(err)
		}
	}
	var out bytes.Buffer
	report, err := Convert(&out, bytes.NewReader(data), int64(len(data)), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return out.Bytes(), report
}

// TestConvertBytes writes the result down from the message definitions: a change
// would make every published model a new file and is never an accident.
func TestConvertBytes(t *testing.T) {
	const shape = "\x1a\x11\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x02\x08\x04" // [-1,4]
	const signature = "" +
		"\x0a\x27\x0a\x05input\x12\x1e\x0a\x07input:0\x10\x01" + shape +
		"\x12\x2b\x0a\x07predict\x12\x20\x0a\x09predict:0\x10\x01" + shape +
		"\x1a\x1atensorflow/serving/predict"
	data := graphtest.Tiny()
	if len(data) != 0x69 || len(signature) != 0x72 {
		t.Fatalf("graph of %#x bytes, signature of %#x", len(data), len(signature))
	}
	want := "\x08\x01\x12\xfc\x01" +
		"\x0a\x07\x22\x05serve" +
		"\x12\x69" + string(data) +
		"\x2a\x85\x01\x0a\x0fserving_default\x12\x72" + signature
	got, report := convertBytes(t, data, "", "")
	if string(got) != want {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if report.Size != int64(len(got)) || report.Nodes != 2 {
		t.Errorf("report %+v", report)
	}
	if again, _ := convertBytes(t, data, "", ""); !bytes.Equal(got, again) {
		t.Error("a second conversion differs")
	}
}

// TestConvertKeepsTheGraph converts real graphs and reads the result with
// TensorFlow's own descriptors.
func TestConvertKeepsTheGraph(t *testing.T) {
	models := testshared.Dir(t, "models")
	for _, tt := range []struct{ file, inputs, outputs string }{
		{digits, "", ""},
		{filepath.Join(models, "plus3.pb"), "", "output"},
		{filepath.Join(models, "regression.pb"), "X", "pred"},
		{filepath.Join(models, "fc-layers.pb"), "X", "output"},
		{filepath.Join(models, "ae0.pb"), "X:0", "output:0"},
		{filepath.Join(models, "gru.pb"), "X,keep_prob", "output"},
		{filepath.Join(models, "lstm.pb"), "X,keep_prob", "output"},
		{filepath.Join(models, "hey_snips_3.pb"), "inputs", "logits"},
	} {
		t.Run(filepath.Base(tt.file), func(t *testing.T) {
			data := readFile(t, tt.file)
			got, report := convertBytes(t, data, tt.inputs, tt.outputs)
			model := graphtest.Parse(t, "tensorflow.SavedModel", got)
			if v := graphtest.Get(model, "saved_model_schema_version").Int(); v != 1 {
				t.Errorf("schema version %d", v)
			}
			graphs := graphtest.Get(model, "meta_graphs").List()
			if graphs.Len() != 1 {
				t.Fatalf("%d graphs", graphs.Len())
			}
			meta := graphs.Get(0).Message()
			if tags := graphtest.Get(meta, "meta_info_def", "tags").List(); tags.Len() != 1 || tags.Get(0).String() != "serve" {
				t.Errorf("tags %v", tags)
			}
			if want := graphtest.Parse(t, "tensorflow.GraphDef", data); !proto.Equal(want.Interface(), graphtest.Get(meta, "graph_def").Message().Interface()) {
				t.Error("the graph differs")
			}
			checkSignature(t, graphtest.Get(meta, "signature_def").Map(), report)
			info, err := Inspect(bytes.NewReader(got), int64(len(got)))
			if err != nil || !info.Servable || info.Kind != SavedModel {
				t.Fatalf("%+v, %v", info, err)
			}
			embedded, err := EmbeddedGraph(bytes.NewReader(got), int64(len(got)))
			if err != nil {
				t.Fatal(err)
			}
			if back, err := io.ReadAll(embedded); err != nil || !bytes.Equal(back, data) {
				t.Errorf("the embedded graph has %d bytes, %v", len(back), err)
			}
			s := info.MetaGraphs[0].Signatures[0]
			if diff := cmp.Diff(report.Inputs, s.Inputs) + cmp.Diff(report.Outputs, s.Outputs); diff != "" || s.Method != PredictMethod {
				t.Errorf("%s: %s", s.Method, diff)
			}
			if _, err := Prepare(bytes.NewReader(got), int64(len(got)), Options{}); err == nil || !strings.Contains(err.Error(), "this is a SavedModel already") {
				t.Errorf("a second conversion: %v", err)
			}
		})
	}
}

func checkSignature(t *testing.T, signatures protoreflect.Map, report *Report) {
	t.Helper()
	if signatures.Len() != 1 {
		t.Fatalf("%d signatures", signatures.Len())
	}
	s := signatures.Get(protoreflect.ValueOfString("serving_default").MapKey()).Message()
	if method := graphtest.Get(s, "method_name").String(); method != "tensorflow/serving/predict" {
		t.Errorf("method %q", method)
	}
	for side, tensors := range map[protoreflect.Name][]SignatureTensor{"inputs": report.Inputs, "outputs": report.Outputs} {
		m := graphtest.Get(s, side).Map()
		if m.Len() != len(tensors) {
			t.Errorf("%d %s, report has %d", m.Len(), side, len(tensors))
		}
		for _, want := range tensors {
			info := m.Get(protoreflect.ValueOfString(want.Key).MapKey()).Message()
			shape := Shape{Known: !graphtest.Get(info, "tensor_shape", "unknown_rank").Bool()}
			dims := graphtest.Get(info, "tensor_shape", "dim").List()
			for i := range dims.Len() {
				shape.Dims = append(shape.Dims, graphtest.Get(dims.Get(i).Message(), "size").Int())
			}
			got := SignatureTensor{
				Key: want.Key, Tensor: graphtest.Get(info, "name").String(), DType: DataType(graphtest.Get(info, "dtype").Enum()), Shape: shape,
			}
			if got.Tensor != want.Tensor || got.DType != want.DType || got.Shape.String() != want.Shape.String() {
				t.Errorf("%s: got %+v, want %+v", side, got, want)
			}
		}
	}
}

func TestConvertDigits(t *testing.T) {
	_, report := convertBytes(t, readFile(t, digits), "", "")
	want := &Report{
		Inputs:  []SignatureTensor{{"input", "input:0", Float32, ShapeOf(-1, 8, 8, 1)}},
		Outputs: []SignatureTensor{{"predict", "predict:0", Float32, ShapeOf(-1, 10)}},
		Nodes:   65, Size: report.Size,
	}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Error(diff)
	}
}

func TestEmbeddedGraphErrors(t *testing.T) {
	for data, want := range map[string]string{
		"\x08\x01":                         "read saved model: the SavedModel has 0 graphs, want one",
		"\x08\x01\x12\x00":                 "the SavedModel has 1 graphs, want one",
		"\x12\x02\x12\x00\x12\x02\x12\x00": "the SavedModel has 2 graphs, want one",
		"\x12\x05":                         "claims 5 bytes, 0 remain",
	} {
		if _, err := EmbeddedGraph(strings.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", data, err, want)
		}
	}
}

// TestUnknownFieldsAreKept has fields that no TensorFlow knows yet, in the graph
// and in a node.
func TestUnknownFieldsAreKept(t *testing.T) {
	future := graphwire.AppendString(nil, 1000, "of a later TensorFlow")
	node := graphtest.Node("predict", "Relu", []string{"input"}, graphtest.TypeAttr("T", Float32))
	_, _, n := protowire.ConsumeTag(node)
	body, _ := protowire.ConsumeBytes(node[n:])
	data := graphtest.Graph(graphtest.Placeholder("input", Float32), future, graphwire.AppendBytes(nil, graphwire.GraphNode, append(body, future...)))
	got, _ := convertBytes(t, data, "", "")
	if !bytes.Contains(got, data) || bytes.Count(got, future) != 2 {
		t.Error("unknown fields are gone")
	}
}

func TestSizeLimit(t *testing.T) {
	header := func(weight int64) []byte {
		content := protowire.AppendVarint(protowire.AppendTag(nil, graphwire.TensorContent, protowire.BytesType), uint64(weight))
		value := protowire.AppendTag(nil, graphwire.AttrTensor, protowire.BytesType)
		value = protowire.AppendVarint(value, uint64(int64(len(content))+weight))
		value = append(value, content...)
		entry := graphwire.AppendString(nil, graphwire.MapKey, "value")
		entry = protowire.AppendTag(entry, graphwire.MapValue, protowire.BytesType)
		entry = protowire.AppendVarint(entry, uint64(int64(len(value))+weight))
		entry = append(entry, value...)
		node := graphwire.AppendString(graphwire.AppendString(nil, graphwire.NodeName, "w"), graphwire.NodeOp, "Const")
		node = protowire.AppendTag(node, graphwire.NodeAttr, protowire.BytesType)
		node = protowire.AppendVarint(node, uint64(int64(len(entry))+weight))
		node = append(node, entry...)
		b := protowire.AppendTag(nil, graphwire.GraphNode, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(int64(len(node))+weight))
		return append(b, node...)
	}
	file := func(total int64) (graphtest.Segments, int64) {
		rest := graphtest.Tiny()
		weight := total - int64(len(rest))
		weight -= int64(len(header(weight)))
		h := header(weight)
		return graphtest.Segments{{Data: h}, {At: int64(len(h)), Zeros: weight}, {At: int64(len(h)) + weight, Data: rest}},
			int64(len(h)) + weight + int64(len(rest))
	}
	_, small := convertBytes(t, graphtest.Tiny(), "", "")
	overhead := small.Size - int64(len(graphtest.Tiny())) + 4 + 4 // two lengths of five bytes for one of one byte and one of two
	f, size := file(MaxSize - overhead + 1)
	c, err := Prepare(f, size, Options{})
	if err != nil {
		t.Fatalf("graph of %d bytes: %v", size, err)
	}
	if c.Report().Size != MaxSize {
		t.Fatalf("SavedModel of %d bytes: the test must reach the limit exactly", c.Report().Size)
	}
	for _, total := range []int64{MaxSize - overhead + 2, MaxSize, MaxSize + 1, 1 << 40} {
		f, size := file(total)
		_, err := Prepare(f, size, Options{})
		var se *SizeError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), "protocol buffers end at 2147483647: keep the variables in a checkpoint") {
			t.Errorf("graph of %d bytes: %v", size, err)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	data := graphtest.Tiny()
	c, err := Prepare(bytes.NewReader(data), int64(len(data)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if _, err := c.WriteTo(&failingWriter{after: 30, err: full}); !errors.Is(err, full) || !strings.HasPrefix(err.Error(), "write saved model: ") {
		t.Errorf("got %v", err)
	}
	var out bytes.Buffer
	if n, err := c.WriteTo(&out); err != nil || n != c.Report().Size || int64(out.Len()) != n {
		t.Errorf("second try: %d, %v", n, err)
	}
	broken := errors.New("disk broken")
	if _, err := Convert(io.Discard, readerAt{iotest.ErrReader(broken)}, 100, Options{}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestGraphShrinksWhileWritten must not end in a SavedModel that is too short.
func TestGraphShrinksWhileWritten(t *testing.T) {
	data := graphtest.Tiny()
	r := &shrinking{data: data}
	c, err := Prepare(r, int64(len(data)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.data = data[:10]
	if _, err := c.WriteTo(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("got %v", err)
	}
}

type failingWriter struct {
	after int
	err   error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.after {
		n := w.after
		w.after = 0
		return n, w.err
	}
	w.after -= len(p)
	return len(p), nil
}

type readerAt struct{ r io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return io.ReadFull(r.r, p) }

type shrinking struct{ data []byte }

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.data).ReadAt(p, off)
}
