package graphtest

import (
	_ "embed" // the descriptors
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// TB is what a test and a property have in common.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

//go:embed tensorflow.protoset
var protoset []byte

var descriptors = sync.OnceValues(func() (*protoregistry.Files, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(protoset, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
})

// Descriptor is TensorFlow's own of a message or enumeration, such as
// "tensorflow.GraphDef".
func Descriptor(tb TB, name protoreflect.FullName) protoreflect.Descriptor {
	tb.Helper()
	files, err := descriptors()
	if err != nil {
		tb.Fatal(err)
	}
	d, err := files.FindDescriptorByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// NewMessage is an empty message of TensorFlow's, such as "tensorflow.GraphDef",
// for the ordinary protocol buffer library.
func NewMessage(tb TB, name protoreflect.FullName) protoreflect.Message {
	tb.Helper()
	md, ok := Descriptor(tb, name).(protoreflect.MessageDescriptor)
	if !ok {
		tb.Fatalf("%s is not a message", name)
	}
	return dynamicpb.NewMessage(md)
}

// Parse reads a message with the ordinary library.
func Parse(tb TB, name protoreflect.FullName, data []byte) protoreflect.Message {
	tb.Helper()
	m := NewMessage(tb, name)
	if err := proto.Unmarshal(data, m.Interface()); err != nil {
		tb.Fatal(err)
	}
	return m
}

// Get follows fields by name.
func Get(m protoreflect.Message, names ...protoreflect.Name) protoreflect.Value {
	var v protoreflect.Value
	for i, name := range names {
		if i > 0 {
			m = v.Message()
		}
		v = m.Get(m.Descriptor().Fields().ByName(name))
	}
	return v
}
