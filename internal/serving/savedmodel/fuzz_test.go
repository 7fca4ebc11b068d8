package savedmodel

import (
	"bytes"
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
