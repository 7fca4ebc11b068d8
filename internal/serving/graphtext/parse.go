package graphtext

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxSize is the largest text that is read, in bytes. Weights take about four
// times their size as text, so a graph of this size belongs in binary form.
const MaxSize = 512 << 20

// maxDepth bounds how deeply messages may be nested; a graph needs about ten.
const maxDepth = 64

// Error says where a text is wrong, and how.
type Error struct {
	Line, Column int // from 1, in bytes
	Reason       string
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// Binary is the binary form of a graph in text form of size bytes. Errors are
// [*Error] or of reading.
func Binary(r io.ReaderAt, size int64) ([]byte, error) {
	if size > MaxSize {
		return nil, fmt.Errorf("read graph in text form: it has %d bytes, the limit is %d: write it in binary form", size, int64(MaxSize))
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), text); err != nil {
		return nil, fmt.Errorf("read graph in text form: %w", err)
	}
	p := &parser{lexer: lexer{text: text}}
	out, err := p.message(schema["GraphDef"], "GraphDef", 0, 0)
	if err != nil {
		return nil, fmt.Errorf("read graph in text form: %w", err)
	}
	return out, nil
}

// parser reads messages. Each is kept as the encoded fields by number until its
// end, since text may name them in any order.
type parser struct {
	lexer
}

// encoded is one field of a message while the message is read.
type encoded struct {
	kind  *fieldType
	bytes []byte // whole records, or the values of a packed list
	count int
}

// message reads fields up to the byte close, or to the end of the text if that
// is 0.
func (p *parser) message(fields map[string]*fieldType, name string, end byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, p.errorf("messages are nested more than %d deep", maxDepth)
	}
	set := map[int32]*encoded{}
	oneof := ""
	for {
		if err := p.space(); err != nil {
			return nil, err
		}
		switch atEnd := p.pos == len(p.text); {
		case atEnd && end == 0:
			return assemble(set), nil
		case atEnd:
			return nil, p.errorf("the text ends inside %s", name)
		case p.peek() == end:
			p.pos++
			return assemble(set), nil
		}
		label := p.identifier()
		if label == "" {
			return nil, p.errorf("want the name of a field of %s, found %s", name, p.found())
		}
		kind := fields[label]
		if kind == nil {
			p.pos -= len(label)
			return nil, p.errorf("%s has no field %q; this reader knows the graphs of TensorFlow up to 2.21", name, label)
		}
		f := set[kind.number]
		if f == nil {
			f = &encoded{kind: kind}
			set[kind.number] = f
		}
		switch {
		case kind.oneof && oneof != "":
			return nil, p.errorf("%s has both %s and %s, and can have one of them", name, oneof, label)
		case kind.oneof:
			oneof = label
		}
		if err := p.field(f, name, depth); err != nil {
			return nil, err
		}
		if !kind.repeated && f.count > 1 {
			return nil, p.errorf("%s has %s twice", name, label)
		}
		if err := p.space(); err != nil {
			return nil, err
		}
		if c := p.peek(); c == ';' || c == ',' {
			p.pos++
		}
	}
}

// assemble writes a message's fields in the order of their numbers.
func assemble(set map[int32]*encoded) []byte {
	size := 0
	for _, f := range set {
		size += len(f.bytes) + 12
	}
	b := make([]byte, 0, size)
	for _, number := range slices.Sorted(maps.Keys(set)) {
		f := set[number]
		switch {
		case f.kind.typ == "skip" || f.count == 0:
		case f.kind.packed():
			b = protowire.AppendTag(b, protowire.Number(number), protowire.BytesType)
			b = protowire.AppendBytes(b, f.bytes)
		default:
			b = append(b, f.bytes...)
		}
	}
	return b
}

// packed tells that values follow each other without tags.
func (k *fieldType) packed() bool {
	return k.repeated && k.message == nil && k.typ != "string" && k.typ != "bytes"
}

// field reads what follows a field's name: a value, a message, or a list of
// either.
func (p *parser) field(f *encoded, in string, depth int) error {
	if err := p.space(); err != nil {
		return err
	}
	colon := p.peek() == ':'
	if colon {
		p.pos++
		if err := p.space(); err != nil {
			return err
		}
	}
	isMessage := f.kind.message != nil || f.kind.typ == "skip"
	if !colon && !isMessage {
		return p.errorf("want a colon after %s.%s, found %s", in, f.kind.name, p.found())
	}
	if p.peek() != '[' {
		return p.value(f, depth)
	}
	if !f.kind.repeated {
		return p.errorf("%s.%s is not a list", in, f.kind.name)
	}
	p.pos++
	for first := true; ; first = false {
		if err := p.space(); err != nil {
			return err
		}
		switch c := p.peek(); {
		case c == ']':
			p.pos++
			return nil
		case !first && c != ',':
			return p.errorf("want a comma or ] in the list %s.%s, found %s", in, f.kind.name, p.found())
		case !first:
			p.pos++
			if err := p.space(); err != nil {
				return err
			}
		}
		if err := p.value(f, depth); err != nil {
			return err
		}
	}
}

// value reads one value and appends it to the field.
func (p *parser) value(f *encoded, depth int) error {
	f.count++
	k := f.kind
	if k.message == nil && k.typ != "skip" {
		return p.scalar(f)
	}
	var end byte
	switch p.peek() {
	case '{':
		end = '}'
	case '<':
		end = '>'
	default:
		return p.errorf("want { for a message of %s, found %s", k.name, p.found())
	}
	p.pos++
	if k.typ == "skip" {
		return p.skip(end)
	}
	inner, err := p.message(k.message, k.typ, end, depth+1)
	if err != nil {
		return err
	}
	f.bytes = protowire.AppendTag(f.bytes, protowire.Number(k.number), protowire.BytesType)
	f.bytes = protowire.AppendBytes(f.bytes, inner)
	return nil
}

// skip reads to the end of a message that is left out.
func (p *parser) skip(end byte) error {
	open := []byte{end}
	for len(open) > 0 {
		if err := p.space(); err != nil {
			return err
		}
		switch c := p.peek(); c {
		case '{':
			open = append(open, '}')
		case '<':
			open = append(open, '>')
		case '"', '\'':
			if _, err := p.literal(nil); err != nil {
				return err
			}
			continue
		case '}', '>':
			if c != open[len(open)-1] {
				return p.errorf("want %q, found %q", open[len(open)-1], c)
			}
			open = open[:len(open)-1]
		case 0:
			if p.pos == len(p.text) {
				return p.errorf("the text ends inside a message")
			}
		}
		if len(open) > maxDepth {
			return p.errorf("messages are nested more than %d deep", maxDepth)
		}
		p.pos++
	}
	return nil
}

// errorf makes an error at the position.
func (l *lexer) errorf(format string, args ...any) error {
	pos := min(l.pos, len(l.text))
	line := bytes.Count(l.text[:pos], []byte{'\n'}) + 1
	column := pos - bytes.LastIndexByte(l.text[:pos], '\n')
	return &Error{Line: line, Column: column, Reason: fmt.Sprintf(format, args...)}
}
