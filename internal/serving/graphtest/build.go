package graphtest

import (
	"bytes"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Data types of tensorflow/core/framework/types.proto that tests use most.
const (
	Float32 = 1
	Float64 = 2
	Int32   = 3
	Float16 = 19
)

// Attr is one attribute of a node under construction.
type Attr struct {
	Key   string
	Value []byte // AttrValue
}

// Bytes is a length-delimited field.
func Bytes(num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), v)
}

// Varint is a field that holds a number.
func Varint(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

// Dims are the dimensions of a shape; without any, a scalar's.
func Dims(dims ...int64) []int64 { return append([]int64{}, dims...) }

// Shape is a TensorShapeProto; nil dimensions make it one of unknown rank.
func Shape(dims []int64) []byte {
	if dims == nil {
		return Varint(3, 1)
	}
	var b []byte
	for _, d := range dims {
		b = append(b, Bytes(2, Varint(1, uint64(d)))...) // Two's complement is the encoding.
	}
	return b
}

// TypeAttr is an attribute that names a data type.
func TypeAttr[D ~int32 | ~int](key string, d D) Attr { return Attr{key, Varint(6, uint64(d))} }

// ShapeAttr is an attribute that holds a shape.
func ShapeAttr(key string, dims []int64) Attr { return Attr{key, Bytes(7, Shape(dims))} }

// IntAttr is an attribute that holds a number.
func IntAttr(key string, v int64) Attr { return Attr{key, Varint(3, uint64(v))} }

// BoolAttr is an attribute that says yes or no.
func BoolAttr(key string, v bool) Attr { return Attr{key, Varint(5, protowire.EncodeBool(v))} }

// FloatAttr is an attribute that holds a float.
func FloatAttr(key string, v float32) Attr {
	return Attr{key, protowire.AppendFixed32(protowire.AppendTag(nil, 4, protowire.Fixed32Type), math.Float32bits(v))}
}

// TextAttr is an attribute that holds a string.
func TextAttr(key, v string) Attr { return Attr{key, Bytes(2, []byte(v))} }

// TextsAttr is an attribute that lists strings, such as _class.
func TextsAttr(key string, list ...string) Attr {
	var b []byte
	for _, v := range list {
		b = append(b, Bytes(2, []byte(v))...)
	}
	return Attr{key, Bytes(1, b)}
}

// IntsAttr is an attribute that lists numbers, such as strides.
func IntsAttr(key string, list ...int64) Attr {
	var b []byte
	for _, v := range list {
		b = protowire.AppendVarint(b, uint64(v))
	}
	return Attr{key, Bytes(1, Bytes(3, b))}
}

// TensorAttr is an attribute that holds a tensor, its elements as tensor_content
// unless that is nil.
func TensorAttr[D ~int32 | ~int](key string, d D, dims []int64, content []byte) Attr {
	t := append(Varint(1, uint64(d)), Bytes(2, Shape(dims))...)
	if content != nil {
		t = append(t, Bytes(4, content)...)
	}
	return Attr{key, Bytes(8, t)}
}

// FloatValAttr is an attribute that holds a tensor of float32, its elements as
// float_val, whose last one stands for all that follow.
func FloatValAttr(key string, dims []int64, values ...float32) Attr {
	t := append(Varint(1, Float32), Bytes(2, Shape(dims))...)
	return Attr{key, Bytes(8, append(t, Bytes(5, Floats(values...))...))}
}

// Floats are float32 in the bytes of tensor_content.
func Floats(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// Node is a NodeDef as a field of a GraphDef.
func Node(name, op string, inputs []string, attrs ...Attr) []byte {
	b := append(Bytes(1, []byte(name)), Bytes(2, []byte(op))...)
	for _, in := range inputs {
		b = append(b, Bytes(3, []byte(in))...)
	}
	for _, a := range attrs {
		b = append(b, Bytes(5, append(Bytes(1, []byte(a.Key)), Bytes(2, a.Value)...))...)
	}
	return Bytes(1, b)
}

// Placeholder is a node to be fed.
func Placeholder[D ~int32 | ~int](name string, d D, dims ...int64) []byte {
	return Node(name, "Placeholder", nil, TypeAttr("dtype", d), ShapeAttr("shape", Dims(dims...)))
}

// Const is a node with a value.
func Const[D ~int32 | ~int](name string, d D, dims []int64, content []byte) []byte {
	return Node(name, "Const", nil, TypeAttr("dtype", d), TensorAttr("value", d, dims, content))
}

// Versions is the versions field of a GraphDef.
func Versions(producer uint64) []byte { return Bytes(4, Varint(1, producer)) }

// Graph is a GraphDef of its fields.
func Graph(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Tiny is the smallest servable graph with the tutorial's names.
func Tiny() []byte {
	return Graph(
		Placeholder("input", Float32, -1, 4),
		Node("predict", "Softmax", []string{"input"}, TypeAttr("T", Float32)),
		Versions(27),
	)
}
