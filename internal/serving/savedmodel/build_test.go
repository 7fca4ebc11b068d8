package savedmodel

import (
	"bytes"
	"os"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// digits is the model that the quickstart ships.
const digits = "../../../examples/quickstart/model/digits.pb"

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// attrDef is one attribute of a node under construction.
type attrDef struct {
	key   string
	value []byte // AttrValue
}

func typeAttr(key string, d DataType) attrDef {
	b := protowire.AppendTag(nil, attrType, protowire.VarintType)
	return attrDef{key, protowire.AppendVarint(b, uint64(d))}
}

func shapeAttr(key string, s Shape) attrDef {
	return attrDef{key, appendBytes(nil, attrShape, encodeShape(s))}
}

func intAttr(key string, v int64) attrDef {
	b := protowire.AppendTag(nil, attrInt, protowire.VarintType)
	return attrDef{key, protowire.AppendVarint(b, uint64(v))}
}

func tensorAttr(key string, d DataType, s Shape, content []byte) attrDef {
	t := protowire.AppendTag(nil, tensorDType, protowire.VarintType)
	t = protowire.AppendVarint(t, uint64(d))
	t = appendBytes(t, tensorShape, encodeShape(s))
	if content != nil {
		t = appendBytes(t, tensorContent, content)
	}
	return attrDef{key, appendBytes(nil, attrTensor, t)}
}

// nodeDef is a NodeDef as a field of a GraphDef.
func nodeDef(name, op string, inputs []string, attrs ...attrDef) []byte {
	b := appendString(nil, nodeName, name)
	b = appendString(b, nodeOp, op)
	for _, in := range inputs {
		b = appendString(b, nodeInput, in)
	}
	for _, a := range attrs {
		b = appendBytes(b, nodeAttr, appendBytes(appendString(nil, mapKey, a.key), mapValue, a.value))
	}
	return appendBytes(nil, graphNode, b)
}

func placeholder(name string, d DataType, dims ...int64) []byte {
	return nodeDef(name, "Placeholder", nil, typeAttr("dtype", d), shapeAttr("shape", ShapeOf(dims...)))
}

func constant(name string, d DataType, s Shape, content []byte) []byte {
	return nodeDef(name, "Const", nil, typeAttr("dtype", d), tensorAttr("value", d, s, content))
}

// versionsDef is the versions field of a GraphDef.
func versionsDef(producer uint64) []byte {
	v := protowire.AppendTag(nil, versionsProducer, protowire.VarintType)
	return appendBytes(nil, graphVersions, protowire.AppendVarint(v, producer))
}

func graphDef(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// tiny is the smallest servable graph with the default names.
func tiny() []byte {
	return graphDef(
		placeholder("input", Float32, -1, 4),
		nodeDef("predict", "Softmax", []string{"input"}, typeAttr("T", Float32)),
		versionsDef(27),
	)
}

func openBytes(tb testing.TB, data []byte) *graph {
	tb.Helper()
	g, err := openGraph(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// descriptors are TensorFlow's own, so that what this package writes is read by
// code that shares nothing with it.
var descriptors = sync.OnceValues(func() (*protoregistry.Files, error) {
	data, err := os.ReadFile("testdata/tensorflow.protoset")
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
})

func newMessage(tb testing.TB, name protoreflect.FullName) protoreflect.Message {
	tb.Helper()
	files, err := descriptors()
	if err != nil {
		tb.Fatal(err)
	}
	d, err := files.FindDescriptorByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	md, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		tb.Fatalf("%s is not a message", name)
	}
	return dynamicpb.NewMessage(md)
}
