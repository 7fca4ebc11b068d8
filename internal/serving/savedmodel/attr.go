package savedmodel

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of attr_value.proto, tensor.proto and tensor_shape.proto.
const (
	mapKey   = 1
	mapValue = 2

	attrList   = 1
	attrBytes  = 2
	attrInt    = 3
	attrFloat  = 4
	attrBool   = 5
	attrType   = 6
	attrShape  = 7
	attrTensor = 8

	listInt   = 3
	listType  = 6
	listShape = 7

	tensorDType   = 1
	tensorShape   = 2
	tensorContent = 4
	tensorIntVal  = 7
	tensorInt64   = 10

	shapeDim         = 2
	shapeUnknownRank = 3
	dimSize          = 1
)

// maxListed bounds the lists of small values that are read into memory: shapes
// have at most maxRank dimensions, operations rarely more than some hundred
// outputs.
const maxListed = 1 << 16

// attrs are the attributes of one node, their values still in the file.
type attrs struct {
	m      message // the NodeDef, for reading
	values map[string]field
}

// readAttrs reads the attributes' names and where their values are. The field
// of a value is the one set in AttrValue; a value without any is absent.
func (g *graph) readAttrs(n *node) (attrs, error) {
	a := attrs{m: message{w: g.w, name: "NodeDef " + n.name, pos: n.start, end: n.end}, values: map[string]field{}}
	m := a.m
	err := m.each(func(f field) error {
		if f.num != nodeAttr {
			return nil
		}
		if len(a.values) >= maxListed {
			return formatErrorf(f.start, "NodeDef %q: more than %d attributes", n.name, maxListed)
		}
		entry := m.sub(f, m.name)
		var key string
		var value field
		err := entry.each(func(f field) (err error) {
			switch f.num {
			case mapKey:
				key, err = entry.text(f)
			case mapValue:
				if err := entry.want(f, protowire.BytesType); err != nil {
					return err
				}
				v := entry.sub(f, m.name)
				set := 0
				err = v.each(func(f field) error {
					if set++; set > 1 {
						return formatErrorf(f.start, "NodeDef %q: attribute %q has more than one value", n.name, key)
					}
					value = f
					return nil
				})
			}
			return err
		})
		if err == nil && value.num != 0 {
			a.values[key] = value
		}
		return err
	})
	return a, err
}

// get returns an attribute if it holds the wanted kind of value.
func (a *attrs) get(key string, num int32, typ protowire.Type) (field, bool) {
	f, ok := a.values[key]
	return f, ok && f.num == num && f.typ == typ
}

func (a *attrs) dtype(key string) (DataType, bool) {
	f, ok := a.get(key, attrType, protowire.VarintType)
	return dataTypeOf(f.value), ok
}

// dtypes is an attribute that lists types, such as Tout.
func (a *attrs) dtypes(key string) ([]DataType, error) {
	f, ok := a.get(key, attrList, protowire.BytesType)
	if !ok {
		return nil, nil
	}
	values, err := a.listInts(f, listType)
	types := make([]DataType, 0, len(values))
	for _, v := range values {
		types = append(types, dataTypeOf(uint64(v))) // A negative one becomes Invalid.
	}
	return types, err
}

func (a *attrs) ints(key string) ([]int64, error) {
	f, ok := a.get(key, attrList, protowire.BytesType)
	if !ok {
		return nil, nil
	}
	return a.listInts(f, listInt)
}

func (a *attrs) listInts(list field, num int32) (values []int64, err error) {
	m := a.m.sub(list, a.m.name)
	err = m.each(func(f field) (err error) {
		if f.num == num {
			values, err = m.ints(values, f, maxListed)
		}
		return err
	})
	return values, err
}

// integer is an int attribute, or fallback.
func (a *attrs) integer(key string, fallback int64) int64 {
	if f, ok := a.get(key, attrInt, protowire.VarintType); ok {
		return int64(f.value) // Two's complement is the encoding.
	}
	return fallback
}

func (a *attrs) boolean(key string) bool {
	f, ok := a.get(key, attrBool, protowire.VarintType)
	return ok && f.value != 0
}

// text is a short string attribute, "" when it is absent.
func (a *attrs) text(key string) (string, error) {
	f, ok := a.get(key, attrBytes, protowire.BytesType)
	if !ok {
		return "", nil
	}
	m := a.m
	b, err := m.bytes(f, maxNameBytes)
	return string(b), err
}

func (a *attrs) shape(key string) (Shape, error) {
	f, ok := a.get(key, attrShape, protowire.BytesType)
	if !ok {
		return Shape{}, nil
	}
	return readShape(&a.m, f)
}

// shapeAt is one of an attribute that lists shapes, such as _output_shapes.
func (a *attrs) shapeAt(key string, index int32) (shape Shape, err error) {
	f, ok := a.get(key, attrList, protowire.BytesType)
	if !ok {
		return Shape{}, nil
	}
	m := a.m.sub(f, a.m.name)
	at := int32(-1)
	err = m.each(func(f field) (err error) {
		if f.num == listShape {
			if at++; at == index {
				shape, err = readShape(&m, f)
			}
		}
		return err
	})
	return shape, err
}

// readShape reads a TensorShapeProto.
func readShape(parent *message, f field) (Shape, error) {
	if err := parent.want(f, protowire.BytesType); err != nil {
		return Shape{}, err
	}
	s := Shape{Known: true, Dims: []int64{}}
	m := parent.sub(f, "TensorShapeProto")
	err := m.each(func(f field) error {
		switch f.num {
		case shapeDim:
			if err := m.want(f, protowire.BytesType); err != nil {
				return err
			}
			if len(s.Dims) == maxRank {
				return formatErrorf(f.start, "TensorShapeProto: more than %d dimensions", maxRank)
			}
			size := int64(0)
			dim := m.sub(f, "TensorShapeProto.Dim")
			err := dim.each(func(f field) error {
				if f.num != dimSize {
					return nil
				}
				size = int64(f.value) // Two's complement is the encoding.
				return dim.want(f, protowire.VarintType)
			})
			if err == nil && size < -1 {
				err = formatErrorf(f.start, "TensorShapeProto: a dimension of size %d", size)
			}
			s.Dims = append(s.Dims, size)
			return err
		case shapeUnknownRank:
			if f.value != 0 {
				s.Known = false
			}
			return m.want(f, protowire.VarintType)
		}
		return nil
	})
	if err != nil || !s.Known {
		return Shape{}, err
	}
	return s, nil
}

// tensor is a TensorProto whose elements are still in the file.
type tensor struct {
	dtype DataType
	shape Shape
	m     message
}

// tensor is the attribute's tensor, or false when it has none.
func (a *attrs) tensor(key string) (tensor, bool, error) {
	f, ok := a.get(key, attrTensor, protowire.BytesType)
	if !ok {
		return tensor{}, false, nil
	}
	m := a.m.sub(f, "TensorProto")
	t := tensor{shape: ShapeOf(), m: m}
	err := m.each(func(f field) (err error) {
		switch f.num {
		case tensorDType:
			t.dtype = dataTypeOf(f.value)
			return m.want(f, protowire.VarintType)
		case tensorShape:
			t.shape, err = readShape(&m, f)
		}
		return err
	})
	return t, err == nil, err
}

// ints reads a small int32 or int64 tensor: axes, permutations, target shapes.
// It returns false for any other tensor and for one of more than maxRank
// elements.
func (t *tensor) ints() ([]int64, bool, error) {
	count, ok := t.shape.elements()
	if !ok || count > maxRank || (t.dtype != Int32 && t.dtype != Int64) {
		return nil, false, nil
	}
	width := int64(4)
	list := int32(tensorIntVal)
	if t.dtype == Int64 {
		width, list = 8, tensorInt64
	}
	var values, content []int64
	m := t.m
	err := m.each(func(f field) (err error) {
		switch f.num {
		case tensorContent:
			var b []byte
			if b, err = m.bytes(f, count*width); err != nil {
				return err
			}
			if int64(len(b)) != count*width && len(b) != 0 {
				return formatErrorf(f.start, "TensorProto: %d bytes for a %s tensor of shape %s", len(b), t.dtype, t.shape)
			}
			content = decodeInts(b, int(width))
		case list:
			values, err = m.ints(values, f, maxRank)
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
		if t.dtype == Int32 && (values[i] > math.MaxInt32 || values[i] < math.MinInt32) {
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
