package graphwire

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Floats are the elements of a float32 tensor, still in the file.
//
// TensorFlow has two forms of them (tensorflow/core/framework/tensor.proto):
// tensor_content has all elements in little-endian bytes; float_val may have
// fewer, and then its last one stands for all that follow.
type Floats struct {
	Count  int64 // of elements
	Stored int64 // of elements that are in the file; Count, or less where one stands for many

	r      *Window
	off    int64     // of the stored elements, which lie one behind the other
	values []float32 // of those that do not
}

// Floats finds the elements of a float32 tensor of known shape. It returns false
// for any other tensor, and an error for a damaged one.
func (t *Tensor) Floats() (Floats, bool, error) {
	count, ok := t.Shape.Elements()
	if !ok || t.DType != Float32 {
		return Floats{}, false, nil
	}
	f := Floats{Count: count, r: t.m.w}
	var content, packed Field
	lists := 0
	m := t.m
	err := m.Each(func(field Field) error {
		switch {
		case field.Num == TensorContent:
			content = field // the last one counts
			return m.Want(field, protowire.BytesType)
		case field.Num == tensorFloats && field.Typ == protowire.BytesType:
			if field.Length%4 != 0 {
				return FormatErrorf(field.Start, "TensorProto: a list of floats of %d bytes", field.Length)
			}
			lists, packed = lists+1, field
		case field.Num == tensorFloats:
			lists += 2 // not one behind the other
			return m.Want(field, protowire.Fixed32Type)
		}
		return nil
	})
	if err != nil {
		return Floats{}, false, err
	}
	switch {
	case content.Length > 0:
		f.off, f.Stored = content.Off, content.Length/4
		if content.Length != 4*count {
			return Floats{}, false, FormatErrorf(content.Start, "TensorProto: %d bytes for a %s tensor of shape %s", content.Length, t.DType, t.Shape)
		}
	case lists <= 1:
		f.off, f.Stored = packed.Off, packed.Length/4
	default:
		if f.values, err = t.floatValues(count); err != nil {
			return Floats{}, false, err
		}
		f.Stored = int64(len(f.values))
	}
	if f.Stored > count {
		return Floats{}, false, FormatErrorf(t.m.pos, "TensorProto: %d values for a tensor of shape %s", f.Stored, t.Shape)
	}
	return f, true, nil
}

// floatValues reads at most limit values of float_val that are not in one piece.
func (t *Tensor) floatValues(limit int64) (values []float32, err error) {
	m := t.m
	err = m.Each(func(f Field) error {
		if f.Num != tensorFloats {
			return nil
		}
		n := int64(1)
		if f.Typ == protowire.BytesType {
			n = f.Length / 4
		}
		if int64(len(values))+n > limit {
			return FormatErrorf(f.Start, "TensorProto: more than %d values for a tensor of shape %s", limit, t.Shape)
		}
		for off := f.Off; off < f.End(); off += 4 {
			b, err := m.w.at(off, 4)
			if err != nil {
				return err
			}
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
		return nil
	})
	return values, err
}

// ReadAt fills buf, whose length is a multiple of four, with the elements from
// the given one on, in little-endian bytes. They must exist.
func (f *Floats) ReadAt(buf []byte, first int64) error {
	n := min(int64(len(buf)/4), max(0, f.Stored-first)) // stored ones
	switch {
	case f.values != nil:
		for i := range n {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(f.values[first+i]))
		}
	case n > 0:
		if err := ReadFull(f.r.R, buf[:4*n], f.off+4*first); err != nil {
			return err
		}
	}
	if rest := buf[4*n:]; len(rest) > 0 {
		clear(rest)
		if f.Stored > 0 {
			last := rest[:4]
			if err := f.ReadAt(last, f.Stored-1); err != nil {
				return err
			}
			for i := 4; i < len(rest); i *= 2 { // doubles what is filled
				copy(rest[i:], rest[:i])
			}
		}
	}
	return nil
}

// All reads all elements.
func (f *Floats) All() ([]float32, error) {
	buf := make([]byte, 4*f.Count)
	if err := f.ReadAt(buf, 0); err != nil {
		return nil, err
	}
	all := make([]float32, f.Count)
	for i := range all {
		all[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
	}
	return all, nil
}
