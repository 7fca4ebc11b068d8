package graphwire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

func TestMalformedMessages(t *testing.T) {
	node := graphtest.Node("input", "Placeholder", nil, graphtest.TypeAttr("dtype", Float32))
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"length beyond the end", []byte{0x0a, 0x05, 'a'}, "offset 0: GraphDef: field 1 claims 5 bytes, 1 remain: the file is truncated or damaged"},
		{"length near 2^64", append([]byte{0x0a}, protowire.AppendVarint(nil, 1<<64-1)...), "claims 18446744073709551615 bytes, 0 remain"},
		{"length near 2^63", append([]byte{0x0a}, protowire.AppendVarint(nil, 1<<63)...), "claims 9223372036854775808 bytes"},
		{"inner length beyond its message", []byte{0x0a, 0x03, 0x0a, 0x04, 'a', 0, 0, 0}, "offset 2: NodeDef: field 1 claims 4 bytes, 1 remain"},
		{"cut in a length", []byte{0x0a, 0x80}, "offset 1: GraphDef: the length of a field is cut off or longer than 64 bits"},
		{"overlong varint", append([]byte{0x18}, bytes.Repeat([]byte{0xff}, 11)...), "the value of a field is cut off or longer than 64 bits"},
		{"field number 0", append(node[:len(node):len(node)], 0x02, 0x00), "GraphDef: field number 0 does not exist in any message"},
		{"field number too large", append(node[:len(node):len(node)], protowire.AppendVarint(nil, 1<<32)...), "field number 536870912 does not exist"},
		{"group", append(node[:len(node):len(node)], 0x0b), "GraphDef: field 1 is a group, which TensorFlow's messages do not have"},
		{"wire type 6", append(node[:len(node):len(node)], 0x0e), "field 1 has wire type 6, which does not exist"},
		{"fixed64 cut", append(node[:len(node):len(node)], 0x39, 1, 2), "field 7 needs 8 bytes, 2 remain"},
		{"library as number", append(node[:len(node):len(node)], 0x10, 1), "GraphDef: field 2 has wire type 0, want 2"},
		{"versions as number", append(node[:len(node):len(node)], 0x20, 1), "GraphDef: field 4 has wire type 0, want 2"},
		{"name as number", AppendBytes(nil, GraphNode, []byte{0x08, 1}), "NodeDef: field 1 has wire type 0, want 2"},
		{"name not UTF-8", AppendBytes(nil, GraphNode, AppendString(nil, NodeName, "\xff")), "NodeDef: field 1 is not UTF-8"},
		{"name too long", AppendBytes(nil, GraphNode, AppendString(nil, NodeName, strings.Repeat("n", maxNameBytes+1))), "field 1 has 65537 bytes, the limit is 65536"},
		{"no name", AppendBytes(nil, GraphNode, AppendString(nil, NodeOp, "Const")), "node 0 has no name or no operation: this is not a frozen graph"},
		{"input of no form", AppendBytes(nil, GraphNode, AppendString(AppendString(nil, NodeName, "a"), NodeInput, "b:x")), `NodeDef "a": input "b:x" is not of the form node, node:port or ^node`},
		{"no nodes", graphtest.Versions(1), "the graph has no nodes"},
		{"checkpoint's .meta", graphtest.Graph(node, AppendBytes(nil, graphVersion, []byte("saver"))), "the .meta file of a checkpoint; freeze the graph first"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenGraph(bytes.NewReader(tt.data), int64(len(tt.data)))
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("got %v, want a FormatError", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %q\nwant %q", err, tt.want)
			}
		})
	}
}

// TestTruncation cuts a real graph everywhere near its structure: no prefix
// may be taken for a whole graph unless it ends between two nodes.
func TestTruncation(t *testing.T) {
	whole := graphtest.Tiny()
	ends := map[int]bool{}
	for rest := whole; len(rest) > 0; {
		_, _, n := protowire.ConsumeField(rest)
		rest = rest[n:]
		ends[len(whole)-len(rest)] = true
	}
	for n := 1; n < len(whole); n++ {
		_, err := OpenGraph(bytes.NewReader(whole[:n]), int64(n))
		if (err == nil) != ends[n] {
			t.Errorf("cut to %d of %d bytes: error %v, field boundary %v", n, len(whole), err, ends[n])
		}
	}
}

func TestShrunkenFile(t *testing.T) {
	data := graphtest.Tiny()
	_, err := OpenGraph(bytes.NewReader(data[:20]), int64(len(data)))
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "it was changed while it was read") {
		t.Errorf("got %v", err)
	}
}

// TestWindow reads random places of a file larger than the window.
func TestWindow(t *testing.T) {
	data := make([]byte, 3*windowSize+17)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := NewWindow(bytes.NewReader(data), int64(len(data)))
		for range 20 {
			n := rapid.IntRange(0, windowSize).Draw(t, "n")
			off := rapid.IntRange(0, len(data)-n).Draw(t, "offset")
			got, err := w.at(int64(off), n)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data[off:off+n]) {
				t.Fatalf("%d bytes at %d differ", n, off)
			}
		}
	})
}

// TestFieldsAgainstProtowire holds the iteration against the library's own.
func TestFieldsAgainstProtowire(t *testing.T) {
	data, err := os.ReadFile("../../../examples/quickstart/model/digits.pb")
	if err != nil {
		t.Fatal(err)
	}
	m := NewMessage(NewWindow(bytes.NewReader(data), int64(len(data))), "GraphDef", 0, int64(len(data)))
	count := 0
	for rest := data; len(rest) > 0; count++ {
		num, typ, n := protowire.ConsumeField(rest)
		f, ok, err := m.next()
		if err != nil || !ok {
			t.Fatalf("field %d: %v, %v", count, ok, err)
		}
		offset := int64(len(data) - len(rest))
		if f.Num != int32(num) || f.Typ != typ || f.Start != offset || f.End() != offset+int64(n) {
			t.Fatalf("field %d: got %+v, want number %d, type %d, [%d,%d)", count, f, num, typ, offset, offset+int64(n))
		}
		rest = rest[n:]
	}
	if _, ok, err := m.next(); ok || err != nil || count < 60 {
		t.Errorf("after %d fields: %v, %v", count, ok, err)
	}
}
