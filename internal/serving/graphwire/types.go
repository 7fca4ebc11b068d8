package graphwire

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DataType is the element type of a tensor, numbered as in
// tensorflow/core/framework/types.proto. The zero DataType is no type.
type DataType int32

// The data types that this package gives a meaning to.
const (
	Invalid   DataType = 0
	Float32   DataType = 1
	Float64   DataType = 2
	Int32     DataType = 3
	UInt8     DataType = 4
	Int16     DataType = 5
	Int8      DataType = 6
	String    DataType = 7
	Complex64 DataType = 8
	Int64     DataType = 9
	Bool      DataType = 10
	QInt8     DataType = 11
	QUInt8    DataType = 12
	QInt32    DataType = 13
	BFloat16  DataType = 14
	Float16   DataType = 19
	Resource  DataType = 20
	Variant   DataType = 21
)

// DataTypeNames are TensorFlow's own names, as tf.DType prints them.
var DataTypeNames = map[DataType]string{
	Float32: "float32", Float64: "float64", Int32: "int32", UInt8: "uint8", Int16: "int16", Int8: "int8",
	String: "string", Complex64: "complex64", Int64: "int64", Bool: "bool", QInt8: "qint8", QUInt8: "quint8",
	QInt32: "qint32", BFloat16: "bfloat16", 15: "qint16", 16: "quint16", 17: "uint16", 18: "complex128",
	Float16: "float16", Resource: "resource", Variant: "variant", 22: "uint32", 23: "uint64",
	24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}

// refOffset is added to a type by operations that return a reference to a
// variable of TensorFlow 1.
const refOffset = 100

// String is TensorFlow's name of the type, such as "float32".
func (d DataType) String() string {
	if d == Invalid {
		return "unknown"
	}
	if name, ok := DataTypeNames[d]; ok {
		return name
	}
	if name, ok := DataTypeNames[d-refOffset]; ok {
		return name + "_ref"
	}
	return fmt.Sprintf("dtype(%d)", int32(d))
}

// MarshalText makes the type appear by its name in JSON.
func (d DataType) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ParseDataType reads a type's name as TensorFlow writes it, such as "float32".
func ParseDataType(name string) (DataType, error) {
	for d, n := range DataTypeNames {
		if n == name {
			return d, nil
		}
	}
	names := make([]string, 0, len(DataTypeNames))
	for _, n := range DataTypeNames {
		names = append(names, n)
	}
	slices.Sort(names)
	return Invalid, fmt.Errorf("parse dtype %q: TensorFlow has %s", name, strings.Join(names, ", "))
}

// DataTypeOf is the type in an attribute, without the mark of a reference.
func DataTypeOf(v uint64) DataType {
	if v > refOffset && v < 2*refOffset {
		v -= refOffset
	}
	if v > 1<<20 {
		return Invalid
	}
	return DataType(v) // Bounded above.
}

// Shape is the shape of a tensor. The zero Shape is of unknown rank; a scalar's
// is Known with no dimensions.
type Shape struct {
	Known bool    // whether the rank is
	Dims  []int64 // -1 where a dimension is not known before the tensor is
}

// ShapeOf is the shape with the given dimensions, -1 for unknown ones.
func ShapeOf(dims ...int64) Shape { return Shape{Known: true, Dims: dims} }

// String is "[-1,10]", "[]" for a scalar, or "unknown".
func (s Shape) String() string {
	if !s.Known {
		return "unknown"
	}
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s.Dims {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(d, 10))
	}
	b.WriteByte(']')
	return b.String()
}

// MarshalJSON writes the dimensions as an array, and null for an unknown rank.
func (s Shape) MarshalJSON() ([]byte, error) {
	if !s.Known {
		return []byte("null"), nil
	}
	return json.Marshal(append([]int64{}, s.Dims...))
}

// Compatible reports whether a tensor can have both shapes.
func (s Shape) Compatible(o Shape) bool {
	if !s.Known || !o.Known {
		return true
	}
	if len(s.Dims) != len(o.Dims) {
		return false
	}
	for i, d := range s.Dims {
		if d >= 0 && o.Dims[i] >= 0 && d != o.Dims[i] {
			return false
		}
	}
	return true
}

// Elements is the number of elements, or false when it is not known.
func (s Shape) Elements() (int64, bool) {
	if !s.Known {
		return 0, false
	}
	n := int64(1)
	for _, d := range s.Dims {
		if d < 0 || (d > 0 && n > MaxElements/d) {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// MaxElements bounds products of dimensions; no tensor of a 2 GiB message has
// as many elements.
const MaxElements = 1 << 40

// MaxRank is TensorFlow's own limit (TensorShape::MaxDimensions).
const MaxRank = 254
