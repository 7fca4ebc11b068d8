package graphwire

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of attr_value.proto, tensor.proto and tensor_shape.proto.
const (
	MapKey   = 1
	MapValue = 2

	AttrList   = 1
	AttrBytes  = 2
	AttrInt    = 3
	attrFloat  = 4
	attrBool   = 5
	AttrType   = 6
	AttrShape  = 7
	AttrTensor = 8

	listBytes = 2
	listInt   = 3
	ListType  = 6
	listShape = 7

	TensorDType   = 1
	TensorShape   = 2
	TensorContent = 4
	tensorFloats  = 5
	tensorIntVal  = 7
	tensorInt64   = 10

	shapeDim         = 2
	shapeUnknownRank = 3
	dimSize          = 1
)

// MaxListed bounds the lists of small values that are read into memory: shapes
// have at most maxRank dimensions, operations rarely more than some hundred
// outputs.
const MaxListed = 1 << 16

// Attrs are the attributes of one node, their values still in the file.
type Attrs struct {
	m      Message // the NodeDef, for reading
	values map[string]Field
}

// ReadAttrs reads the attributes' names and where their values are. The field
// of a value is the one set in AttrValue; a value without any is absent.
func (g *Graph) ReadAttrs(n *Node) (Attrs, error) {
	a := Attrs{m: NewMessage(g.W, "NodeDef "+n.Name, n.Start, n.End), values: map[string]Field{}}
	m := a.m
	err := m.Each(func(f Field) error {
		if f.Num != NodeAttr {
			return nil
		}
		if len(a.values) >= MaxListed {
			return FormatErrorf(f.Start, "NodeDef %q: more than %d attributes", n.Name, MaxListed)
		}
		entry := m.Sub(f, m.name)
		var key string
		var value Field
		err := entry.Each(func(f Field) (err error) {
			switch f.Num {
			case MapKey:
				key, err = entry.Text(f)
			case MapValue:
				if err := entry.Want(f, protowire.BytesType); err != nil {
					return err
				}
				v := entry.Sub(f, m.name)
				set := 0
				err = v.Each(func(f Field) error {
					if set++; set > 1 {
						return FormatErrorf(f.Start, "NodeDef %q: attribute %q has more than one value", n.Name, key)
					}
					value = f
					return nil
				})
			}
			return err
		})
		if err == nil {
			delete(a.values, key) // the last entry of a key counts, also one without value
			if value.Num != 0 {
				a.values[key] = value
			}
		}
		return err
	})
	return a, err
}

// get returns an attribute if it holds the wanted kind of value.
func (a *Attrs) get(key string, num int32, typ protowire.Type) (Field, bool) {
	f, ok := a.values[key]
	return f, ok && f.Num == num && f.Typ == typ
}

// DType is a type attribute, or false when there is none.
func (a *Attrs) DType(key string) (DataType, bool) {
	f, ok := a.get(key, AttrType, protowire.VarintType)
	return DataTypeOf(f.Value), ok
}

// DTypes is an attribute that lists types, such as Tout.
func (a *Attrs) DTypes(key string) ([]DataType, error) {
	f, ok := a.get(key, AttrList, protowire.BytesType)
	if !ok {
		return nil, nil
	}
	values, err := a.listInts(f, ListType)
	types := make([]DataType, 0, len(values))
	for _, v := range values {
		types = append(types, DataTypeOf(uint64(v))) // A negative one becomes Invalid.
	}
	return types, err
}

// Ints is an attribute that lists numbers, such as strides.
func (a *Attrs) Ints(key string) ([]int64, error) {
	f, ok := a.get(key, AttrList, protowire.BytesType)
	if !ok {
		return nil, nil
	}
	return a.listInts(f, listInt)
}

func (a *Attrs) listInts(list Field, num int32) (values []int64, err error) {
	m := a.m.Sub(list, a.m.name)
	err = m.Each(func(f Field) (err error) {
		if f.Num == num {
			values, err = m.ints(values, f, MaxListed)
		}
		return err
	})
	return values, err
}

// Integer is an int attribute, or fallback.
func (a *Attrs) Integer(key string, fallback int64) int64 {
	if f, ok := a.get(key, AttrInt, protowire.VarintType); ok {
		return int64(f.Value) // Two's complement is the encoding.
	}
	return fallback
}

// Boolean is a bool attribute, or fallback.
func (a *Attrs) Boolean(key string, fallback bool) bool {
	if f, ok := a.get(key, attrBool, protowire.VarintType); ok {
		return f.Value != 0
	}
	return fallback
}

// Float is a float attribute, or fallback.
func (a *Attrs) Float(key string, fallback float32) float32 {
	if f, ok := a.get(key, attrFloat, protowire.Fixed32Type); ok {
		return math.Float32frombits(uint32(f.Value)) // The field has 32 bits.
	}
	return fallback
}

// Texts is an attribute that lists short strings, such as _class.
func (a *Attrs) Texts(key string) (list []string, err error) {
	f, ok := a.get(key, AttrList, protowire.BytesType)
	if !ok {
		return nil, nil
	}
	m := a.m.Sub(f, a.m.name)
	err = m.Each(func(f Field) error {
		if f.Num != listBytes {
			return nil
		}
		if len(list) >= MaxListed {
			return FormatErrorf(f.Start, "%s: more than %d strings in a list", m.name, MaxListed)
		}
		b, err := m.bytes(f, maxNameBytes)
		list = append(list, string(b))
		return err
	})
	return list, err
}

// Text is a short string attribute, "" when it is absent.
func (a *Attrs) Text(key string) (string, error) {
	f, ok := a.get(key, AttrBytes, protowire.BytesType)
	if !ok {
		return "", nil
	}
	m := a.m
	b, err := m.bytes(f, maxNameBytes)
	return string(b), err
}

// Shape is a shape attribute; unknown when there is none.
func (a *Attrs) Shape(key string) (Shape, error) {
	f, ok := a.get(key, AttrShape, protowire.BytesType)
	if !ok {
		return Shape{}, nil
	}
	return ReadShape(&a.m, f)
}

// ShapeAt is one of an attribute that lists shapes, such as _output_shapes.
func (a *Attrs) ShapeAt(key string, index int32) (shape Shape, err error) {
	f, ok := a.get(key, AttrList, protowire.BytesType)
	if !ok {
		return Shape{}, nil
	}
	m := a.m.Sub(f, a.m.name)
	at := int32(-1)
	err = m.Each(func(f Field) (err error) {
		if f.Num == listShape {
			if at++; at == index {
				shape, err = ReadShape(&m, f)
			}
		}
		return err
	})
	return shape, err
}

// ReadShape reads a TensorShapeProto.
func ReadShape(parent *Message, f Field) (Shape, error) {
	if err := parent.Want(f, protowire.BytesType); err != nil {
		return Shape{}, err
	}
	s := Shape{Known: true, Dims: []int64{}}
	m := parent.Sub(f, "TensorShapeProto")
	err := m.Each(func(f Field) error {
		switch f.Num {
		case shapeDim:
			if err := m.Want(f, protowire.BytesType); err != nil {
				return err
			}
			if len(s.Dims) == MaxRank {
				return FormatErrorf(f.Start, "TensorShapeProto: more than %d dimensions", MaxRank)
			}
			size := int64(0)
			dim := m.Sub(f, "TensorShapeProto.Dim")
			err := dim.Each(func(f Field) error {
				if f.Num != dimSize {
					return nil
				}
				size = int64(f.Value) // Two's complement is the encoding.
				return dim.Want(f, protowire.VarintType)
			})
			if err == nil && size < -1 {
				err = FormatErrorf(f.Start, "TensorShapeProto: a dimension of size %d", size)
			}
			s.Dims = append(s.Dims, size)
			return err
		case shapeUnknownRank:
			if f.Value != 0 {
				s.Known = false
			}
			return m.Want(f, protowire.VarintType)
		}
		return nil
	})
	if err != nil || !s.Known {
		return Shape{}, err
	}
	return s, nil
}

// Tensor is a TensorProto whose elements are still in the file.
type Tensor struct {
	DType DataType
	Shape Shape
	m     Message
}

// Tensor is the attribute's tensor, or false when it has none.
func (a *Attrs) Tensor(key string) (Tensor, bool, error) {
	f, ok := a.get(key, AttrTensor, protowire.BytesType)
	if !ok {
		return Tensor{}, false, nil
	}
	m := a.m.Sub(f, "TensorProto")
	t := Tensor{Shape: ShapeOf(), m: m}
	err := m.Each(func(f Field) (err error) {
		switch f.Num {
		case TensorDType:
			t.DType = DataTypeOf(f.Value)
			return m.Want(f, protowire.VarintType)
		case TensorShape:
			t.Shape, err = ReadShape(&m, f)
		}
		return err
	})
	return t, err == nil, err
}

// Ints reads a small int32 or int64 tensor: axes, permutations, target shapes.
// It returns false for any other tensor and for one of more than maxRank
// elements.
func (t *Tensor) Ints() ([]int64, bool, error) {
	count, ok := t.Shape.Elements()
	if !ok || count > MaxRank || (t.DType != Int32 && t.DType != Int64) {
		return nil, false, nil
	}
	width := int64(4)
	list := int32(tensorIntVal)
	if t.DType == Int64 {
		width, list = 8, tensorInt64
	}
	var values, content []int64
	m := t.m
	err := m.Each(func(f Field) (err error) {
		switch f.Num {
		case TensorContent:
			var b []byte
			if b, err = m.bytes(f, count*width); err != nil {
				return err
			}
			if int64(len(b)) != count*width && len(b) != 0 {
				return FormatErrorf(f.Start, "TensorProto: %d bytes for a %s tensor of shape %s", len(b), t.DType, t.Shape)
			}
			content = decodeInts(b, int(width))
		case list:
			values, err = m.ints(values, f, MaxRank)
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if content != nil {
		return content, true, nil
	}
	// A list that is too short repeats its last value, an empty one means
	// zeros (tensorflow/core/framework/tensor.cc).
	last := int64(0)
	for i := range values {
		if t.DType == Int32 && (values[i] > math.MaxInt32 || values[i] < math.MinInt32) {
			values[i] = int64(int32(values[i])) // As the field's own type truncates.
		}
		last = values[i]
	}
	for int64(len(values)) < count {
		values = append(values, last)
	}
	return values[:count], true, nil
}

func decodeInts(b []byte, width int) []int64 {
	if len(b) == 0 {
		return nil
	}
	values := make([]int64, 0, len(b)/width)
	for ; len(b) > 0; b = b[width:] {
		if width == 4 {
			values = append(values, int64(int32(binary.LittleEndian.Uint32(b)))) // The bits of an int32.
		} else {
			values = append(values, int64(binary.LittleEndian.Uint64(b))) // The bits of an int64.
		}
	}
	return values
}
