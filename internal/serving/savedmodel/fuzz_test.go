package savedmodel

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

// seeds adds the small graphs there are; none at all is an error. Large ones
// would only keep the fuzzer busy with their weights.
func seeds(f *testing.F) {
	f.Helper()
	f.Add(graphtest.Tiny())
	out, _ := convertBytes(f, graphtest.Tiny(), "", "")
	f.Add(out)
	if _, err := os.Stat("../../../../shared"); err != nil {
		return
	}
	shared, err := filepath.Glob(filepath.Join(testshared.Dir(f, "models"), "*.pb"))
	added := 0
	for _, name := range shared {
		if data := readFile(f, name); len(data) < 1000 {
			f.Add(data)
			added++
		}
	}
	if err != nil || added == 0 {
		f.Fatalf("no seeds among %d models: %v", len(shared), err)
	}
}

// FuzzInspect must return, whatever the input.
func FuzzInspect(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Inspect(bytes.NewReader(data), int64(len(data)))
		if (info == nil) == (err == nil) {
			t.Fatalf("%v, %v", info, err)
		}
	})
}

// FuzzConvert converts from the first placeholder to the first sink: what is
// accepted must be a SavedModel to the ordinary protocol buffer library, with
// the graph in it unchanged.
func FuzzConvert(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Inspect(bytes.NewReader(data), int64(len(data)))
		if err != nil || len(info.Inputs) == 0 || len(info.Outputs) == 0 {
			return
		}
		spec := func(s SignatureTensor) []TensorSpec {
			node, port, ok := graphwire.SplitTensorName(s.Tensor)
			if !ok {
				return nil
			}
			return []TensorSpec{{Node: node, Port: port}}
		}
		var out bytes.Buffer
		report, err := Convert(&out, bytes.NewReader(data), int64(len(data)),
			Options{Inputs: spec(info.Inputs[0]), Outputs: spec(info.Outputs[0])})
		if err != nil {
			if out.Len() > 0 {
				t.Fatalf("wrote %d bytes before %v", out.Len(), err)
			}
			return
		}
		if int64(out.Len()) != report.Size || !bytes.Contains(out.Bytes(), data) {
			t.Fatal("the graph is not in the SavedModel")
		}
		model := graphtest.NewMessage(t, "tensorflow.SavedModel")
		graph := graphtest.NewMessage(t, "tensorflow.GraphDef")
		if err := proto.Unmarshal(data, graph.Interface()); err != nil {
			return // inside a field that conversion does not look at
		}
		if err := proto.Unmarshal(out.Bytes(), model.Interface()); err != nil {
			t.Fatal(err)
		}
		if again, err := Inspect(bytes.NewReader(out.Bytes()), int64(out.Len())); err != nil || !again.Servable {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}

// FuzzOptimize optimises from the first placeholder to the first sink: what comes
// out must be a graph to the ordinary protocol buffer library, servable, and no
// further optimised by a second time.
func FuzzOptimize(f *testing.F) {
	seeds(f)
	folded := graphtest.Graph(graphtest.Placeholder("x", Float32, 1, 2, 2, 1),
		graphtest.Const("w", Float32, graphtest.Dims(1, 1, 1, 1), graphtest.Floats(2)),
		graphtest.Const("v", Float32, graphtest.Dims(1), graphtest.Floats(1)),
		graphtest.Node("read", "Identity", []string{"w"}, graphtest.TypeAttr("T", Float32)),
		graphtest.Node("c", "Conv2D", []string{"x", "read"}, graphtest.TypeAttr("T", Float32)),
		graphtest.Node("y", "FusedBatchNorm", []string{"c", "v", "v", "v", "v"}, graphtest.TypeAttr("T", Float32), graphtest.BoolAttr("is_training", false)))
	f.Add(folded)
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Inspect(bytes.NewReader(data), int64(len(data)))
		if err != nil || info.Kind != FrozenGraph || !info.Servable || len(info.Inputs) == 0 || len(info.Outputs) == 0 {
			return
		}
		opts := Options{Optimize: true}
		for _, side := range []struct {
			from SignatureTensor
			into *[]TensorSpec
		}{{info.Inputs[0], &opts.Inputs}, {info.Outputs[0], &opts.Outputs}} {
			node, port, ok := graphwire.SplitTensorName(side.from.Tensor)
			if !ok {
				return
			}
			*side.into = []TensorSpec{{Node: node, Port: port}}
		}
		optimise := func(data []byte) []byte {
			var out bytes.Buffer
			report, err := Convert(&out, bytes.NewReader(data), int64(len(data)), opts)
			if err != nil {
				return nil
			}
			if int64(out.Len()) != report.Size {
				t.Fatalf("%d bytes, announced %d", out.Len(), report.Size)
			}
			graph, err := EmbeddedGraph(bytes.NewReader(out.Bytes()), int64(out.Len()))
			if err != nil {
				t.Fatal(err)
			}
			after, err := io.ReadAll(graph)
			if err != nil {
				t.Fatal(err)
			}
			return after
		}
		once := optimise(data)
		if once == nil {
			return
		}
		message := graphtest.NewMessage(t, "tensorflow.GraphDef")
		if proto.Unmarshal(data, message.Interface()) == nil { // or it is damaged where nobody looks
			if err := proto.Unmarshal(once, message.Interface()); err != nil {
				t.Fatal(err)
			}
		}
		if twice := optimise(once); twice == nil {
			t.Fatal("the result cannot be converted")
		} else if len(twice) > len(once) {
			t.Fatalf("%d bytes after one time, %d after two", len(once), len(twice))
		}
	})
}
