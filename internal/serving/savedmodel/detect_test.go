package savedmodel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func TestDetect(t *testing.T) {
	varint := func(num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
	}
	zeros := strings.Repeat("\x00", 300)
	tests := []struct {
		name string
		data string
		want string // kind, or what is said instead
	}{
		{"graph", string(graphtest.Tiny()), "frozen graph"},
		{"graph with versions first", string(graphtest.Graph(graphtest.Versions(3), graphtest.Tiny())), "frozen graph"},
		{"graph with library first", string(graphtest.Graph([]byte{0x12, 0}, graphtest.Tiny())), "frozen graph"},
		{"saved model", "\x08\x01\x12\x00", "SavedModel"},
		{"saved model without schema version", "\x12\x00", "SavedModel"},
		{"text graph", "node {\n  name: \"a\"\n}\n", "frozen graph in text form"},
		{"text graph with comment", "# exported\n\n  node{ }", "frozen graph in text form"},
		{"text graph that starts with versions", "versions: < producer: 1 >", "frozen graph in text form"},
		{"text saved model", "saved_model_schema_version: 1\n", "SavedModel in text form"},
		{"other text", "hello: world", "neither a frozen graph nor a SavedModel: offset 2: file: field 13 is a group"},
		{"onnx", string(graphtest.Graph(varint(1, 8), graphwire.AppendString(nil, 2, "pytorch"))), "this is neither a frozen graph nor a SavedModel but an ONNX model, perhaps"},
		{"empty", "", "the file is empty"},
		{"hdf5", "\x89HDF\r\n\x1a\n" + zeros, "this is a Keras HDF5 file: load it with Keras"},
		{"zip", "PK\x03\x04" + zeros, "this is a zip archive"},
		{"gzip", "\x1f\x8b\x08", "this is compressed with gzip: unpack it first"},
		{"tflite", "\x1c\x00\x00\x00TFL3", "this is a TensorFlow Lite model"},
		{"tar", "a" + strings.Repeat("\x00", 256) + "ustar", "this is a tar archive: unpack it first"},
		{"lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "this is a Git LFS pointer: fetch the file itself"},
		{"html", "<!DOCTYPE html><html>", "this is an HTML page, perhaps of a failed download"},
		{"protected file", "GRAFS.PF" + zeros, "this is an encrypted Gramine protected file"},
		{"nothing known", string(varint(9, 1)), "this is neither a frozen graph nor a SavedModel"},
		{"truncated", "\x2a\x05a", "neither a frozen graph nor a SavedModel: offset 0: file: field 5 claims 5 bytes, 1 remain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kind, err := Detect(strings.NewReader(tt.data), int64(len(tt.data)))
			got := kind.String()
			if err != nil {
				var fe *FormatError
				if !errors.As(err, &fe) {
					t.Errorf("%v is not a FormatError", err)
				}
				got = err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestDetectProtectedFile looks at a real one.
func TestDetectProtectedFile(t *testing.T) {
	var data []byte
	dir := testshared.Dir(t, "vectors/pf")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && data == nil && !d.IsDir() && strings.HasSuffix(path, ".pf") {
			data, err = os.ReadFile(path) // Test data.
		}
		return err
	})
	if err != nil || data == nil {
		t.Fatalf("no protected file under %s: %v", dir, err)
	}
	if kind, err := Detect(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "encrypted Gramine protected file") {
		t.Errorf("%v, %v", kind, err)
	}
}

// TestNotFrozen says what to do with each other kind of file.
func TestNotFrozen(t *testing.T) {
	for data, want := range map[string]string{
		"node { }":         "read graph: this is a graph in text form: write it in binary form, with as_text=False",
		"meta_graphs { }":  "read graph: this is a SavedModel in text form already: it needs no conversion",
		"\x08\x01\x12\x00": "read graph: this is a SavedModel already: it needs no conversion, use its version directory as it is",
		"PK\x03\x04":       "read graph: this is a zip archive",
		"":                 "read graph: the file is empty",
	} {
		_, err := Prepare(strings.NewReader(data), int64(len(data)), Options{})
		var fe *FormatError
		if !errors.As(err, &fe) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", data, err, want)
		}
	}
}
