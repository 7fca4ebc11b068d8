package graphwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

// endless is a GraphDef of n small nodes, each of which reads the next, made as
// it is read.
type endless struct {
	n    int64
	node []byte // with room for the names
	at   [2]int // where they are
}

func newEndless(n int64) *endless {
	e := &endless{n: n, node: graphtest.Node("NNNNNNNN", "A", []string{"IIIIIIII"})}
	e.at = [2]int{bytes.Index(e.node, []byte("NNNNNNNN")), bytes.Index(e.node, []byte("IIIIIIII"))}
	return e
}

func (e *endless) size() int64 { return e.n * int64(len(e.node)) }

func (e *endless) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < e.size() {
		i := off / int64(len(e.node))
		for k, at := range e.at {
			for digit, v := at+7, i+int64(k); digit >= at; digit, v = digit-1, v>>4 {
				e.node[digit] = 'a' + byte(v&15)
			}
		}
		k := copy(p[n:], e.node[off-i*int64(len(e.node)):])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestTenMillionNodes must end soon and without taking the memory for them.
func TestTenMillionNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("indexes a million nodes")
	}
	e := newEndless(10_000_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := OpenGraph(e, e.size())
	runtime.ReadMemStats(&after)
	var fe *FormatError
	if !errors.As(err, &fe) || !strings.Contains(err.Error(), "GraphDef: more than 1048576 nodes") {
		t.Fatalf("got %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
		t.Errorf("%d bytes were allocated in all", used)
	}
}

// TestHostileLengths has lengths that overlap, overflow or lie, at every level.
func TestHostileLengths(t *testing.T) {
	field := func(num protowire.Number, length uint64, data ...byte) []byte {
		return append(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), length), data...)
	}
	node := graphtest.Node("x", "Const", nil)
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"node reaches into the next":      {append(field(GraphNode, 10, 0x0a, 1, 'a', 0x12, 1, 'A'), node...), "NodeDef"},
		"attribute reaches past its node": {graphtest.Bytes(1, append(graphtest.Bytes(1, []byte("x")), field(NodeAttr, 100)...)), "NodeDef: field 5 claims 100 bytes, 0 remain"},
		"sum of lengths overflows":        {append(node, field(GraphNode, 1<<63-1)...), "claims 9223372036854775807 bytes, 0 remain"},
		"library of nothing but a length": {append(node, field(graphLibrary, 1<<40)...), "claims 1099511627776 bytes, 0 remain"},
		"function reaches past":           {append(node, graphtest.Bytes(2, field(1, 50))...), "FunctionDefLibrary: field 1 claims 50 bytes, 0 remain"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenGraph(bytes.NewReader(tt.data), int64(len(tt.data)))
			var fe *FormatError
			if !errors.As(err, &fe) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestHostileTensors has constants whose lengths and shapes do not fit.
func TestHostileTensors(t *testing.T) {
	for name, tt := range map[string]struct {
		attr graphtest.Attr
		ok   bool
		want string
	}{
		"content too short":   {graphtest.TensorAttr("value", Float32, graphtest.Dims(3), []byte{1, 2, 3, 4}), false, "TensorProto: 4 bytes for a float32 tensor of shape [3]"},
		"content too long":    {graphtest.TensorAttr("value", Float32, graphtest.Dims(), make([]byte, 8)), false, "TensorProto: 8 bytes for a float32 tensor of shape []"},
		"too many values":     {graphtest.FloatValAttr("value", graphtest.Dims(1), 1, 2), false, "TensorProto: 2 values for a tensor of shape [1]"},
		"list of seven bytes": {graphtest.Attr{Key: "value", Value: graphtest.Bytes(8, append(graphtest.Varint(1, 1), graphtest.Bytes(5, make([]byte, 7))...))}, false, "TensorProto: a list of floats of 7 bytes"},
		"absurd shape":        {graphtest.TensorAttr("value", Float32, graphtest.Dims(1<<40, 1<<40), nil), false, ""},
		"unknown shape":       {graphtest.TensorAttr("value", Float32, nil, nil), false, ""},
		"another type":        {graphtest.TensorAttr("value", Int32, graphtest.Dims(1), make([]byte, 4)), false, ""},
		"zeros":               {graphtest.TensorAttr("value", Float32, graphtest.Dims(2), nil), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := openBytes(t, graphtest.Node("x", "Const", nil, tt.attr))
			a, err := g.ReadAttrs(&g.Nodes[0])
			if err != nil {
				t.Fatal(err)
			}
			tensor, _, err := a.Tensor("value")
			if err != nil {
				t.Fatal(err)
			}
			_, ok, err := tensor.Floats()
			if ok != tt.ok || tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, %v; want %v, %q", ok, err, tt.ok, tt.want)
			}
		})
	}
}

// TestFloats reads both forms of a tensor, whole and in pieces.
func TestFloats(t *testing.T) {
	unpacked := graphtest.Varint(1, graphtest.Float32)
	unpacked = append(unpacked, graphtest.Bytes(2, graphtest.Shape(graphtest.Dims(5)))...)
	unpacked = append(unpacked, graphtest.Bytes(5, graphtest.Floats(1, 2))...)
	unpacked = protowire.AppendFixed32(protowire.AppendTag(unpacked, 5, protowire.Fixed32Type), 0x40400000)
	for name, tt := range map[string]struct {
		attr graphtest.Attr
		want []float32
	}{
		"content":  {graphtest.TensorAttr("value", Float32, graphtest.Dims(3), graphtest.Floats(1, 2, 3)), []float32{1, 2, 3}},
		"packed":   {graphtest.FloatValAttr("value", graphtest.Dims(3), 1, 2, 3), []float32{1, 2, 3}},
		"splat":    {graphtest.FloatValAttr("value", graphtest.Dims(5), 1, 2), []float32{1, 2, 2, 2, 2}},
		"unpacked": {graphtest.Attr{Key: "value", Value: graphtest.Bytes(8, unpacked)}, []float32{1, 2, 3, 3, 3}},
		"zeros":    {graphtest.TensorAttr("value", Float32, graphtest.Dims(2, 1), nil), []float32{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			g := openBytes(t, graphtest.Node("x", "Const", nil, tt.attr))
			a, err := g.ReadAttrs(&g.Nodes[0])
			if err != nil {
				t.Fatal(err)
			}
			tensor, _, err := a.Tensor("value")
			if err != nil {
				t.Fatal(err)
			}
			f, ok, err := tensor.Floats()
			if err != nil || !ok || f.Count != int64(len(tt.want)) {
				t.Fatalf("%+v, %v, %v", f, ok, err)
			}
			all, err := f.All()
			if err != nil || fmt.Sprint(all) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, %v", all, err)
			}
			for i := range tt.want {
				for j := i; j <= len(tt.want); j++ {
					buf := bytes.Repeat([]byte{0xaa}, 4*(j-i))
					if err := f.ReadAt(buf, int64(i)); err != nil || !bytes.Equal(buf, graphtest.Floats(tt.want[i:j]...)) {
						t.Fatalf("[%d:%d]: %x, %v", i, j, buf, err)
					}
				}
			}
		})
	}
}

// FuzzMessage holds the iteration against the library's own: what it accepts,
// field by field, is what protowire accepts.
func FuzzMessage(f *testing.F) {
	f.Add(graphtest.Tiny())
	f.Add([]byte{0x0a, 0x05, 'a'})
	f.Add([]byte{0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add(graphtest.Const("w", Float32, graphtest.Dims(2), graphtest.Floats(1, 2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := NewMessage(NewWindow(bytes.NewReader(data), int64(len(data))), "fuzzed", 0, int64(len(data)))
		for rest := data; ; {
			field, ok, err := m.next()
			if !ok && err == nil {
				if len(rest) != 0 {
					t.Fatalf("ended with %d bytes left", len(rest))
				}
				return
			}
			num, typ, n := protowire.ConsumeField(rest)
			group := n >= 0 && (typ == protowire.StartGroupType || typ == protowire.EndGroupType)
			if (err == nil) != (n >= 0 && !group) {
				if typ == protowire.StartGroupType || len(rest) > 0 && rest[0]&7 == 3 {
					return // which are refused at once
				}
				t.Fatalf("%v; protowire takes %d bytes of %x", err, n, rest)
			}
			if err != nil {
				return
			}
			if field.Num != int32(num) || field.Typ != typ || field.End()-field.Start != int64(n) {
				t.Fatalf("got %+v, want number %d, type %d, %d bytes", field, num, typ, n)
			}
			rest = rest[n:]
		}
	})
}
