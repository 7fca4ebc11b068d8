package graphtext

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func descriptor(tb testing.TB, name string) protoreflect.Descriptor {
	tb.Helper()
	return graphtest.Descriptor(tb, protoreflect.FullName("tensorflow."+name))
}

func newGraph(tb testing.TB) proto.Message {
	tb.Helper()
	return graphtest.NewMessage(tb, "tensorflow.GraphDef").Interface()
}

func binary(text string) ([]byte, error) { return Binary(strings.NewReader(text), int64(len(text))) }

// TestSchema holds every field against TensorFlow's descriptors.
func TestSchema(t *testing.T) {
	fields := 0
	for name, known := range schema {
		md, ok := descriptor(t, name).(protoreflect.MessageDescriptor)
		if !ok {
			t.Fatalf("%s is not a message", name)
		}
		if md.Fields().Len() != len(known) {
			t.Errorf("%s has %d fields, here %d", name, md.Fields().Len(), len(known))
		}
		for i := range md.Fields().Len() {
			f := md.Fields().Get(i)
			fields++
			k := known[string(f.Name())]
			if k == nil {
				t.Errorf("%s.%s is not known", name, f.Name())
				continue
			}
			typ := f.Kind().String()
			switch f.Kind() {
			case protoreflect.MessageKind:
				typ = strings.TrimPrefix(string(f.Message().FullName()), "tensorflow.")
			case protoreflect.EnumKind:
				typ = strings.TrimPrefix(string(f.Enum().FullName()), "tensorflow.")
			default:
			}
			if typ == "GraphDebugInfo" {
				typ = "skip"
			}
			oneof := f.ContainingOneof() != nil
			repeated := f.Cardinality() == protoreflect.Repeated
			if k.number != int32(f.Number()) || k.typ != typ || k.repeated != repeated || k.oneof != oneof || k.packed() != f.IsPacked() {
				t.Errorf("%s.%s is %d %s repeated=%v packed=%v oneof=%v, here %+v", name, f.Name(), f.Number(), typ, repeated, f.IsPacked(), oneof, *k)
			}
			if (k.message == nil) == (f.Kind() == protoreflect.MessageKind && typ != "skip") || (k.enum == nil) == (f.Kind() == protoreflect.EnumKind) {
				t.Errorf("%s.%s: message %v, enum %v", name, f.Name(), k.message != nil, k.enum != nil)
			}
			if k.enum != nil {
				checkEnum(t, k.enum, f.Enum())
			}
		}
	}
	if len(schema) < 25 || fields < 100 {
		t.Errorf("only %d messages with %d fields", len(schema), fields)
	}
}

func checkEnum(t *testing.T, known map[string]int64, want protoreflect.EnumDescriptor) {
	t.Helper()
	for i := range want.Values().Len() {
		v := want.Values().Get(i)
		if n, ok := known[string(v.Name())]; !ok || n != int64(v.Number()) {
			t.Errorf("%s is %d, here %d, %v", v.Name(), v.Number(), n, ok)
		}
	}
	if len(known) != want.Values().Len() {
		t.Errorf("%s has %d names, here %d", want.Name(), want.Values().Len(), len(known))
	}
}

// TestAgainstLibrary writes real graphs as text with the ordinary library and
// reads them back here.
func TestAgainstLibrary(t *testing.T) {
	for _, name := range []string{"../../../examples/quickstart/model/digits.pb", "../savedmodel/testdata/ops.pb"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := newGraph(t)
		if err := proto.Unmarshal(data, want); err != nil {
			t.Fatal(err)
		}
		for _, opts := range []prototext.MarshalOptions{{}, {Multiline: true}, {EmitASCII: true}} {
			text, err := opts.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			checkSame(t, string(text), want)
		}
	}
}

// checkSame reads text here and compares it with a graph.
func checkSame(t *testing.T, text string, want proto.Message) {
	t.Helper()
	out, err := binary(text)
	if err != nil {
		t.Fatal(err)
	}
	got := newGraph(t)
	if err := proto.Unmarshal(out, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("the graph differs; text of %d bytes", len(text))
	}
}

// TestValues reads values in every notation, and holds them against the
// library's reader.
func TestValues(t *testing.T) {
	attr := func(value string) string {
		return `node { name: "n" op: "Const" attr { key: "value" value { ` + value + ` } } }`
	}
	for _, text := range []string{
		``,
		`# only a comment`,
		`node { name: "a" op: "b" } versions { producer: 27 }`,
		`versions: { producer: 27, min_consumer: 12; bad_consumers: [1, 2] bad_consumers: 3 } node: [{ name: "a" }, { name: 'b' }]`,
		`node < name: "a" # comment
			op: "b" >`,
		`node { name: "a" "b"
			'c' op: "\x41\101\n\t\\\"\'\u00e9\U0001f600" device: "é" }`,
		`node { input: ["a", "^b"] input: "c:1" input: [] }`,
		attr(`i: 0`), attr(`b: false`), attr(`s: ""`), attr(`type: DT_FLOAT`), attr(`type: 3`), attr(`type: DT_HALF_REF`), attr(`f: 0`),
		attr(`i: -9223372036854775808`), attr(`i: 0x7fffffffffffffff`), attr(`i: 017`), attr(`b: True`), attr(`b: t`), attr(`b: 0`),
		attr(`f: 1.5e-3`), attr(`f: -inf`), attr(`f: 1`), attr(`f: .5`), attr(`f: 2.f`), attr(`f: 1e10`), attr(`f: -0.0`),
		attr(`shape { unknown_rank: true }`), attr(`shape { dim { size: -1 } dim { size: 8 name: "w" } }`), attr(`shape {}`),
		attr(`list { }`), attr(`list { i: [1, -2, 3] f: 1 f: 2 b: [true, false] type: [DT_INT8, 1] s: "x" shape { } }`),
		attr(`func { name: "f" attr { key: "T" value { type: DT_INT64 } } }`),
		attr(`tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: 1 float_val: -2.5 }`),
		attr(`tensor { dtype: DT_INT32 tensor_shape { } int_val: [1, -1] tensor_content: "\001\000\377\200" }`),
		attr(`tensor { double_val: 1e300 uint32_val: 4294967295 uint64_val: 18446744073709551615 bool_val: [true] string_val: "\xff" half_val: 15360 }`),
		`library { function { signature { name: "f" input_arg { name: "x" type: DT_FLOAT } is_stateful: true } ret { key: "y" value: "y:0" } arg_attr { key: 0 value { } } } }`,
		`node { experimental_type { type_id: TFT_TENSOR args { type_id: TFT_FLOAT } } }`,
	} {
		want := newGraph(t)
		if err := prototext.Unmarshal([]byte(text), want); err != nil {
			t.Errorf("the library does not read %s: %v", text, err)
			continue
		}
		checkSame(t, text, want)
	}
}

// TestPresence keeps a value of zero apart from none.
func TestPresence(t *testing.T) {
	out, err := binary(`node { attr { key: "k" value { b: false } } }`)
	if err != nil || hex.EncodeToString(out) != "0a092a070a016b1202"+"2800" {
		t.Errorf("%x, %v", out, err)
	}
}

// TestDebugInfoIsLeftOut reads what it does not keep.
func TestDebugInfoIsLeftOut(t *testing.T) {
	with, err := binary(`node { name: "a" } debug_info { files: "a}b" traces < key: 'x>' value { } > # }
	} versions { producer: 1 }`)
	if err != nil {
		t.Fatal(err)
	}
	without, err := binary(`versions { producer: 1 } node { name: "a" }`)
	if err != nil || !bytes.Equal(with, without) {
		t.Errorf("%x, %x, %v", with, without, err)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"node {":                                    "line 1, column 7: the text ends inside NodeDef",
		"node { name: \"a\"\n  nome: 1 }":           `line 2, column 3: NodeDef has no field "nome"; this reader knows the graphs of TensorFlow up to 2.21`,
		"nodes { }":                                 `line 1, column 1: GraphDef has no field "nodes"`,
		"node { name \"a\" }":                       `want a colon after NodeDef.name, found '"'`,
		"node { name: a }":                          "want a string in quotes, found 'a'",
		"node { name: \"a":                          "the text ends inside a string",
		"node { name: \"a\nb\" }":                   "line 1, column 16: a string ends in the line that it begins in",
		`node { name: "\q" }`:                       `an escape that does not exist: \q`,
		`node { name: "\400" }`:                     `an escape that does not exist: \4`,
		`node { name: "\ud800" }`:                   `an escape that does not exist: \u`,
		`node { name: "\xff" }`:                     "name is not UTF-8, as a string must be",
		`node { name: "\`:                           "the text ends inside a string",
		`node { name: "a" name: "b" }`:              "NodeDef has name twice",
		`node { name: ["a"] }`:                      "NodeDef.name is not a list",
		`node { input: ["a" "b" "c", ] }`:           "want a string in quotes, found ']'",
		`node { input: ["a"; "b"] }`:                "want a comma or ] in the list NodeDef.input, found ';'",
		`node: 5`:                                   "want { for a message of node, found '5'",
		`node { ] `:                                 "want the name of a field of NodeDef, found ']'",
		`}`:                                         "want the name of a field of GraphDef, found '}'",
		`version: 1_000`:                            `version wants int32, found "1_000"`,
		`version: 0b1`:                              `version wants int32, found "0b1"`,
		`version: 4294967296`:                       `version wants int32, found "4294967296"`,
		`version: +1`:                               `version wants int32, found "+1"`,
		`version:`:                                  `version wants int32, found ""`,
		`node { attr { value { b: 2 } } }`:          `b wants bool, found "2"`,
		`node { attr { value { type: FLOAT } } }`:   `type wants a name of DataType, found "FLOAT"`,
		`node { attr { value { f: 0x1p3 } } }`:      `f wants a number, found "0x1p3"`,
		`node { attr { value { f: 1_0 } } }`:        `f wants a number, found "1_0"`,
		`node { attr { value { f: "1" } } }`:        `f wants a number, found ""`,
		`node { attr { value { i: 1 b: true } } }`:  "AttrValue has both i and b, and can have one of them",
		`node { attr { value { i: 1 i: 2 } } }`:     "AttrValue has both i and i, and can have one of them",
		"node { name: \"a\" \x00 }":                 "a NUL byte, which text does not have",
		`debug_info { a < }`:                        `want '>', found '}'`,
		`debug_info { `:                             "the text ends inside a message",
		"[type.googleapis.com/x] { }":               "want the name of a field of GraphDef, found '['",
		"debug_info " + strings.Repeat("{ a ", 100): "messages are nested more than 64 deep",
		"node { experimental_type " + strings.Repeat("{ args ", 100): "messages are nested more than 64 deep",
	} {
		_, err := binary(text)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "read graph in text form: line ") {
			t.Errorf("%.60q: got %v\nwant %s", text, err, want)
		}
	}
	if _, err := Binary(strings.NewReader(""), MaxSize+1); err == nil || !strings.Contains(err.Error(), "the limit is 536870912: write it in binary form") {
		t.Errorf("got %v", err)
	}
	if _, err := Binary(strings.NewReader("node"), 10); err == nil {
		t.Error("a file that is shorter than its size was read")
	}
}

// FuzzBinary reads whatever text: what the library reads too must mean the same.
func FuzzBinary(f *testing.F) {
	f.Add(`node { name: "a" op: "Const" attr { key: "value" value { tensor { dtype: DT_FLOAT float_val: [1, -2.5e3] tensor_content: "\001" } } } }`)
	f.Add("versions < producer: 27, bad_consumers: [1,2]; > # end\nnode: [{name: 'x' \"y\"}]")
	f.Add(`library { function { signature { name: "f" } } } debug_info { files: "x" }`)
	f.Fuzz(func(t *testing.T, text string) {
		out, err := binary(text)
		if err != nil {
			return
		}
		got := newGraph(t)
		if err := proto.Unmarshal(out, got); err != nil {
			t.Fatalf("%q became %x: %v", text, out, err)
		}
		want := newGraph(t)
		if strings.Contains(text, "debug_info") || prototext.Unmarshal([]byte(text), want) != nil {
			return // the library is stricter about white space, duplicate map keys and ranges
		}
		if !proto.Equal(got, want) {
			t.Fatalf("%q differs:\n%v\n%v", text, got, want)
		}
	})
}
