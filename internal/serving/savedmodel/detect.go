package savedmodel

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphwire"
)

// Kind is what a model file is, judged by its content.
type Kind uint8

// The kinds of file that TensorFlow Serving's world knows.
const (
	FrozenGraph     Kind = iota + 1 // a binary GraphDef
	FrozenGraphText                 // a GraphDef in text form, often .pbtxt
	SavedModel                      // a binary SavedModel
	SavedModelText                  // a SavedModel in text form
)

func (k Kind) String() string {
	switch k {
	case FrozenGraph:
		return "frozen graph"
	case FrozenGraphText:
		return "frozen graph in text form"
	case SavedModel:
		return "SavedModel"
	case SavedModelText:
		return "SavedModel in text form"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText makes the kind appear by its name in JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// notFrozen says what to do with a file that is something else.
func (k Kind) notFrozen() string {
	switch k {
	case SavedModel:
		return "this is a SavedModel already: it needs no conversion, use its version directory as it is"
	case SavedModelText:
		return "this is a SavedModel in text form already: it needs no conversion, TensorFlow Serving reads saved_model.pbtxt too"
	case FrozenGraphText:
		return "this is a graph in text form: write it in binary form, with as_text=False where tf.io.write_graph made it"
	default:
		return "this is not a frozen graph"
	}
}

// foreign are formats that are mistaken for frozen graphs, told by their first
// bytes, with the way to a frozen graph.
var foreign = []struct {
	offset int
	magic  string
	what   string
}{
	{0, "\x89HDF\r\n\x1a\n", "a Keras HDF5 file: load it with Keras and freeze or export it from there"},
	{0, "PK\x03\x04", "a zip archive, such as .keras or PyTorch files are: export a frozen graph from the framework that made it"},
	{0, "\x1f\x8b", "compressed with gzip: unpack it first"},
	{0, "\xfd7zXZ\x00", "compressed with xz: unpack it first"},
	{0, "BZh", "compressed with bzip2: unpack it first"},
	{4, "TFL3", "a TensorFlow Lite model, which TensorFlow Serving reads only with a special flag: export the original graph"},
	{257, "ustar", "a tar archive: unpack it first"},
	{0, "version https://git-lfs.github.com/spec/", "a Git LFS pointer: fetch the file itself with git lfs pull"},
	{0, "<!DOCTYPE", "an HTML page, perhaps of a failed download"},
	{0, "<!doctype", "an HTML page, perhaps of a failed download"},
	{0, "<html", "an HTML page, perhaps of a failed download"},
	{0, "GRAFS", "an encrypted Gramine protected file: convert the graph before it is encrypted"},
}

// Detect says what a file of size bytes is, from its content and not from its
// name. The error is a [*FormatError] that names what it looks like instead, or
// of reading.
func Detect(r io.ReaderAt, size int64) (Kind, error) {
	if size <= 0 {
		return 0, graphwire.FormatErrorf(-1, "the file is empty")
	}
	head := make([]byte, min(size, 512))
	if err := graphwire.ReadFull(r, head, 0); err != nil {
		return 0, err
	}
	for _, f := range foreign {
		if len(head) > f.offset && bytes.HasPrefix(head[f.offset:], []byte(f.magic)) {
			return 0, graphwire.FormatErrorf(-1, "this is %s", f.what)
		}
	}
	if kind := detectText(head); kind != 0 {
		return kind, nil
	}
	return detectBinary(graphwire.NewWindow(r, size))
}

// detectText recognises the first field of the two messages in text form.
func detectText(head []byte) Kind {
	text := string(head)
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if !strings.HasPrefix(text, "#") {
			break
		}
		_, text, _ = strings.Cut(text, "\n")
	}
	name := text[:len(text)-len(strings.TrimLeft(text, "abcdefghijklmnopqrstuvwxyz_"))]
	rest := strings.TrimLeft(text[len(name):], " \t\r\n")
	if !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, ":") && !strings.HasPrefix(rest, "<") {
		return 0
	}
	switch name {
	case "node", "library", "versions", "version", "debug_info":
		return FrozenGraphText
	case "saved_model_schema_version", "meta_graphs":
		return SavedModelText
	}
	return 0
}

// detectBinary tells the messages apart by the wire types of their fields:
// field 1 is a number in SavedModel and a message in GraphDef.
func detectBinary(w *graphwire.Window) (Kind, error) {
	m := graphwire.NewMessage(w, "file", 0, w.Size)
	var kind Kind
	var foreign string
	graphs := false
	err := m.Each(func(f graphwire.Field) error {
		varint := f.Typ == protowire.VarintType
		switch {
		case f.Num == 1 && varint && f.Value > 2:
			foreign = "an ONNX model, perhaps: export a frozen graph or convert it with onnx-tf"
		case f.Num == 1 && varint:
			kind = SavedModel
		case f.Num == 1 && !varint, f.Num == 3 && varint, f.Num == 4:
			if kind == 0 {
				kind = FrozenGraph
			}
		case f.Num == 2:
			graphs = true
		}
		if kind != 0 || foreign != "" {
			return io.EOF // enough
		}
		return nil
	})
	switch {
	case foreign != "":
		return 0, graphwire.FormatErrorf(-1, "this is neither a frozen graph nor a SavedModel but %s", foreign)
	case kind != 0:
		return kind, nil
	case err != nil:
		return 0, fmt.Errorf("neither a frozen graph nor a SavedModel: %w", err)
	case graphs:
		return SavedModel, nil // without a schema version
	}
	return 0, graphwire.FormatErrorf(-1, "this is neither a frozen graph nor a SavedModel")
}
