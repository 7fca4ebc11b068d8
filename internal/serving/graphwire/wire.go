package graphwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// windowSize is how much of a file is held at a time. Weights are skipped
// without being read, so one window usually serves many nodes.
const windowSize = 64 << 10

// maxFieldNumber is the largest field number a protocol buffer may use.
const maxFieldNumber = 1<<29 - 1

// A FormatError says that a file is not in the expected format: not a frozen
// Graph or SavedModel at all, or a damaged one.
type FormatError struct {
	Offset int64  // of the first byte that is wrong, or -1
	Reason string // what was expected and what was found
}

func (e *FormatError) Error() string {
	if e.Offset < 0 {
		return e.Reason
	}
	return fmt.Sprintf("offset %d: %s", e.Offset, e.Reason)
}

// FormatErrorf makes a [*FormatError].
func FormatErrorf(offset int64, format string, args ...any) error {
	return &FormatError{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// Window reads a file through one buffer. It is not safe for concurrent use.
type Window struct {
	R     io.ReaderAt
	Size  int64
	buf   []byte
	start int64 // file offset of buf[0]
	n     int   // valid bytes in buf
}

// NewWindow reads the file of size bytes.
func NewWindow(r io.ReaderAt, size int64) *Window {
	return &Window{R: r, Size: size, buf: make([]byte, min(size, windowSize))}
}

// at returns n bytes at offset, which lie within the file, and n is at most
// windowSize. They are valid until the next call.
func (w *Window) at(offset int64, n int) ([]byte, error) {
	if offset >= w.start && offset+int64(n) <= w.start+int64(w.n) {
		i := int(offset - w.start)
		return w.buf[i : i+n], nil
	}
	fill := int(min(int64(len(w.buf)), w.Size-offset))
	w.start, w.n = offset, 0
	if err := ReadFull(w.R, w.buf[:fill], offset); err != nil {
		return nil, err
	}
	w.n = fill
	return w.buf[:n], nil
}

// ReadFull fills buf from offset. A file that ends early has shrunk since its
// Size was taken.
func ReadFull(r io.ReaderAt, buf []byte, offset int64) error {
	n, err := r.ReadAt(buf, offset)
	switch {
	case n == len(buf):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("read %d bytes at offset %d: the file ends after %d of them, it was changed while it was read: %w",
			len(buf), offset, n, io.ErrUnexpectedEOF)
	default:
		return fmt.Errorf("read %d bytes at offset %d: %w", len(buf), offset, err)
	}
}

// Field is one field of a message, its payload still in the file.
type Field struct {
	Num    int32
	Typ    protowire.Type
	Start  int64  // offset of the tag
	Off    int64  // offset of the payload; of a length-delimited one, after the length
	Length int64  // of the payload in bytes
	Value  uint64 // of a varint, fixed32 or fixed64
}

// End is the offset behind the field.
func (f Field) End() int64 { return f.Off + f.Length }

// Message iterates over the fields of the message in [pos,end). The name is
// for error messages only.
type Message struct {
	w        *Window
	name     string
	pos, end int64
}

// NewMessage is the message in [start,end) of a file. The name is for error
// messages.
func NewMessage(w *Window, name string, start, end int64) Message {
	return Message{w: w, name: name, pos: start, end: end}
}

// Sub is the message in a length-delimited field.
func (m *Message) Sub(f Field, name string) Message {
	return NewMessage(m.w, name, f.Off, f.End())
}

// next returns the next field, or false at the end of the message.
func (m *Message) next() (Field, bool, error) {
	if m.pos == m.end {
		return Field{}, false, nil
	}
	f := Field{Start: m.pos}
	tag, err := m.varint("tag")
	if err != nil {
		return Field{}, false, err
	}
	f.Typ = protowire.Type(tag & 7)
	if tag>>3 < 1 || tag>>3 > maxFieldNumber {
		return Field{}, false, FormatErrorf(f.Start, "%s: field number %d does not exist in any message", m.name, tag>>3)
	}
	f.Num = int32(tag >> 3) // At most maxFieldNumber.
	f.Off = m.pos
	switch f.Typ {
	case protowire.VarintType:
		if f.Value, err = m.varint("value"); err != nil {
			return Field{}, false, err
		}
	case protowire.Fixed32Type, protowire.Fixed64Type:
		n := 4
		if f.Typ == protowire.Fixed64Type {
			n = 8
		}
		if int64(n) > m.end-m.pos {
			return Field{}, false, FormatErrorf(f.Off, "%s: field %d needs %d bytes, %d remain", m.name, f.Num, n, m.end-m.pos)
		}
		b, err := m.w.at(m.pos, n)
		if err != nil {
			return Field{}, false, err
		}
		if n == 4 {
			f.Value = uint64(binary.LittleEndian.Uint32(b))
		} else {
			f.Value = binary.LittleEndian.Uint64(b)
		}
		m.pos += int64(n)
	case protowire.BytesType:
		length, err := m.varint("length")
		if err != nil {
			return Field{}, false, err
		}
		f.Off = m.pos
		if length > uint64(m.end-m.pos) { // pos never passes end.
			return Field{}, false, FormatErrorf(f.Start, "%s: field %d claims %d bytes, %d remain: the file is truncated or damaged",
				m.name, f.Num, length, m.end-m.pos)
		}
		m.pos += int64(length) // At most end-pos.
	case protowire.StartGroupType, protowire.EndGroupType:
		return Field{}, false, FormatErrorf(f.Start, "%s: field %d is a group, which TensorFlow's messages do not have", m.name, f.Num)
	default:
		return Field{}, false, FormatErrorf(f.Start, "%s: field %d has wire type %d, which does not exist", m.name, f.Num, f.Typ)
	}
	f.Length = m.pos - f.Off
	return f, true, nil
}

func (m *Message) varint(what string) (uint64, error) {
	b, err := m.w.at(m.pos, int(min(m.end-m.pos, 10)))
	if err != nil {
		return 0, err
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, FormatErrorf(m.pos, "%s: the %s of a field is cut off or longer than 64 bits", m.name, what)
	}
	m.pos += int64(n)
	return v, nil
}

// Want checks the wire type of a field that this package interprets.
func (m *Message) Want(f Field, typ protowire.Type) error {
	if f.Typ != typ {
		return FormatErrorf(f.Start, "%s: field %d has wire type %d, want %d", m.name, f.Num, f.Typ, typ)
	}
	return nil
}

// bytes reads a length-delimited field of at most limit bytes.
func (m *Message) bytes(f Field, limit int64) ([]byte, error) {
	if err := m.Want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	if f.Length > limit {
		return nil, FormatErrorf(f.Start, "%s: field %d has %d bytes, the limit is %d", m.name, f.Num, f.Length, limit)
	}
	if f.Length == 0 {
		return nil, nil
	}
	if f.Length <= int64(len(m.w.buf)) {
		return m.w.at(f.Off, int(f.Length))
	}
	buf := make([]byte, f.Length)
	return buf, ReadFull(m.w.R, buf, f.Off)
}

// Text reads a string field of at most maxNameBytes. Like every proto3 reader it
// insists on UTF-8.
func (m *Message) Text(f Field) (string, error) {
	b, err := m.bytes(f, maxNameBytes)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", FormatErrorf(f.Start, "%s: field %d is not UTF-8, as a string must be", m.name, f.Num)
	}
	return string(b), nil
}

// Each calls visit with every field of the message.
func (m *Message) Each(visit func(Field) error) error {
	for {
		f, ok, err := m.next()
		if err != nil || !ok {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
	}
}

// Ints appends the values of a repeated varint field, packed or not.
func (m *Message) ints(dst []int64, f Field, limit int) ([]int64, error) {
	if f.Typ == protowire.VarintType {
		if len(dst) >= limit {
			return nil, FormatErrorf(f.Start, "%s: field %d has more than %d values", m.name, f.Num, limit)
		}
		return append(dst, int64(f.Value)), nil // Two's complement is the encoding.
	}
	if err := m.Want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	packed := m.Sub(f, m.name)
	for packed.pos < packed.end {
		if len(dst) >= limit {
			return nil, FormatErrorf(f.Start, "%s: field %d has more than %d values", m.name, f.Num, limit)
		}
		v, err := packed.varint("packed value")
		if err != nil {
			return nil, err
		}
		dst = append(dst, int64(v)) // Two's complement is the encoding.
	}
	return dst, nil
}
