package savedmodel

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
// graph or SavedModel at all, or a damaged one.
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

func formatErrorf(offset int64, format string, args ...any) error {
	return &FormatError{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// window reads a file through one buffer. It is not safe for concurrent use.
type window struct {
	r     io.ReaderAt
	size  int64
	buf   []byte
	start int64 // file offset of buf[0]
	n     int   // valid bytes in buf
}

func newWindow(r io.ReaderAt, size int64) *window {
	return &window{r: r, size: size, buf: make([]byte, min(size, windowSize))}
}

// at returns n bytes at offset, which lie within the file, and n is at most
// windowSize. They are valid until the next call.
func (w *window) at(offset int64, n int) ([]byte, error) {
	if offset >= w.start && offset+int64(n) <= w.start+int64(w.n) {
		i := int(offset - w.start)
		return w.buf[i : i+n], nil
	}
	fill := int(min(int64(len(w.buf)), w.size-offset))
	w.start, w.n = offset, 0
	if err := readFull(w.r, w.buf[:fill], offset); err != nil {
		return nil, err
	}
	w.n = fill
	return w.buf[:n], nil
}

// readFull fills buf from offset. A file that ends early has shrunk since its
// size was taken.
func readFull(r io.ReaderAt, buf []byte, offset int64) error {
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

// field is one field of a message, its payload still in the file.
type field struct {
	num    int32
	typ    protowire.Type
	start  int64  // offset of the tag
	off    int64  // offset of the payload; of a length-delimited one, after the length
	length int64  // of the payload in bytes
	value  uint64 // of a varint, fixed32 or fixed64
}

// end is the offset behind the field.
func (f field) end() int64 { return f.off + f.length }

// message iterates over the fields of the message in [pos,end). The name is
// for error messages only.
type message struct {
	w        *window
	name     string
	pos, end int64
}

// sub is the message in a length-delimited field.
func (m *message) sub(f field, name string) message {
	return message{w: m.w, name: name, pos: f.off, end: f.end()}
}

// next returns the next field, or false at the end of the message.
func (m *message) next() (field, bool, error) {
	if m.pos == m.end {
		return field{}, false, nil
	}
	f := field{start: m.pos}
	tag, err := m.varint("tag")
	if err != nil {
		return field{}, false, err
	}
	f.typ = protowire.Type(tag & 7)
	if tag>>3 < 1 || tag>>3 > maxFieldNumber {
		return field{}, false, formatErrorf(f.start, "%s: field number %d does not exist in any message", m.name, tag>>3)
	}
	f.num = int32(tag >> 3) // At most maxFieldNumber.
	f.off = m.pos
	switch f.typ {
	case protowire.VarintType:
		if f.value, err = m.varint("value"); err != nil {
			return field{}, false, err
		}
	case protowire.Fixed32Type, protowire.Fixed64Type:
		n := 4
		if f.typ == protowire.Fixed64Type {
			n = 8
		}
		if int64(n) > m.end-m.pos {
			return field{}, false, formatErrorf(f.off, "%s: field %d needs %d bytes, %d remain", m.name, f.num, n, m.end-m.pos)
		}
		b, err := m.w.at(m.pos, n)
		if err != nil {
			return field{}, false, err
		}
		if n == 4 {
			f.value = uint64(binary.LittleEndian.Uint32(b))
		} else {
			f.value = binary.LittleEndian.Uint64(b)
		}
		m.pos += int64(n)
	case protowire.BytesType:
		length, err := m.varint("length")
		if err != nil {
			return field{}, false, err
		}
		f.off = m.pos
		if length > uint64(m.end-m.pos) { // pos never passes end.
			return field{}, false, formatErrorf(f.start, "%s: field %d claims %d bytes, %d remain: the file is truncated or damaged",
				m.name, f.num, length, m.end-m.pos)
		}
		m.pos += int64(length) // At most end-pos.
	case protowire.StartGroupType, protowire.EndGroupType:
		return field{}, false, formatErrorf(f.start, "%s: field %d is a group, which TensorFlow's messages do not have", m.name, f.num)
	default:
		return field{}, false, formatErrorf(f.start, "%s: field %d has wire type %d, which does not exist", m.name, f.num, f.typ)
	}
	f.length = m.pos - f.off
	return f, true, nil
}

func (m *message) varint(what string) (uint64, error) {
	b, err := m.w.at(m.pos, int(min(m.end-m.pos, 10)))
	if err != nil {
		return 0, err
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return 0, formatErrorf(m.pos, "%s: the %s of a field is cut off or longer than 64 bits", m.name, what)
	}
	m.pos += int64(n)
	return v, nil
}

// want checks the wire type of a field that this package interprets.
func (m *message) want(f field, typ protowire.Type) error {
	if f.typ != typ {
		return formatErrorf(f.start, "%s: field %d has wire type %d, want %d", m.name, f.num, f.typ, typ)
	}
	return nil
}

// bytes reads a length-delimited field of at most limit bytes.
func (m *message) bytes(f field, limit int64) ([]byte, error) {
	if err := m.want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	if f.length > limit {
		return nil, formatErrorf(f.start, "%s: field %d has %d bytes, the limit is %d", m.name, f.num, f.length, limit)
	}
	if f.length == 0 {
		return nil, nil
	}
	if f.length <= int64(len(m.w.buf)) {
		return m.w.at(f.off, int(f.length))
	}
	buf := make([]byte, f.length)
	return buf, readFull(m.w.r, buf, f.off)
}

// text reads a string field of at most maxNameBytes. Like every proto3 reader it
// insists on UTF-8.
func (m *message) text(f field) (string, error) {
	b, err := m.bytes(f, maxNameBytes)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", formatErrorf(f.start, "%s: field %d is not UTF-8, as a string must be", m.name, f.num)
	}
	return string(b), nil
}

// each calls visit with every field of the message.
func (m *message) each(visit func(field) error) error {
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

// ints appends the values of a repeated varint field, packed or not.
func (m *message) ints(dst []int64, f field, limit int) ([]int64, error) {
	if f.typ == protowire.VarintType {
		if len(dst) >= limit {
			return nil, formatErrorf(f.start, "%s: field %d has more than %d values", m.name, f.num, limit)
		}
		return append(dst, int64(f.value)), nil // Two's complement is the encoding.
	}
	if err := m.want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	packed := m.sub(f, m.name)
	for packed.pos < packed.end {
		if len(dst) >= limit {
			return nil, formatErrorf(f.start, "%s: field %d has more than %d values", m.name, f.num, limit)
		}
		v, err := packed.varint("packed value")
		if err != nil {
			return nil, err
		}
		dst = append(dst, int64(v)) // Two's complement is the encoding.
	}
	return dst, nil
}
