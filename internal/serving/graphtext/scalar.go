package graphtext

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// scalar reads a value that is not a message and appends its encoding: with a
// tag, or without one where values are packed.
func (p *parser) scalar(f *encoded) error {
	k := f.kind
	number := protowire.Number(k.number)
	tag := func(typ protowire.Type) {
		if !k.packed() {
			f.bytes = protowire.AppendTag(f.bytes, number, typ)
		}
	}
	switch k.typ {
	case "string", "bytes":
		s, err := p.strings()
		if err != nil {
			return err
		}
		if k.typ == "string" && !utf8.Valid(s) {
			return p.errorf("%s is not UTF-8, as a string must be", k.name)
		}
		tag(protowire.BytesType)
		f.bytes = protowire.AppendBytes(f.bytes, s)
		return nil
	case "float", "double":
		v, err := p.float(k)
		if err != nil {
			return err
		}
		if k.typ == "float" {
			tag(protowire.Fixed32Type)
			f.bytes = protowire.AppendFixed32(f.bytes, math.Float32bits(float32(v)))
		} else {
			tag(protowire.Fixed64Type)
			f.bytes = protowire.AppendFixed64(f.bytes, math.Float64bits(v))
		}
		return nil
	}
	v, err := p.integer(k)
	if err != nil {
		return err
	}
	tag(protowire.VarintType)
	f.bytes = protowire.AppendVarint(f.bytes, v)
	return nil
}

// float reads a number, inf or nan. The text may end it in f.
func (p *parser) float(k *fieldType) (float64, error) {
	token := p.token()
	s := strings.ToLower(token)
	sign := 1.0
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		sign, s = -1, rest
	}
	switch s {
	case "inf", "infinity":
		return sign * math.Inf(1), nil
	case "nan":
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "f"), 64)
	if strings.Trim(s, "0123456789.e+-f") != "" || err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, p.before(token, "%s wants a number, found %q", k.name, token)
	}
	return sign * v, nil // out of range is infinite, as in C++
}

// integer reads an integer, a truth value or the name of an enumeration's
// member, as the varint that encodes it.
func (p *parser) integer(k *fieldType) (uint64, error) {
	token := p.token()
	fail := func() (uint64, error) {
		want := k.typ
		if k.enum != nil {
			want = "a name of " + want
		}
		return 0, p.before(token, "%s wants %s, found %q", k.name, want, token)
	}
	if k.enum != nil {
		if v, ok := k.enum[token]; ok {
			return uint64(v), nil
		}
	}
	if k.typ == "bool" {
		switch token {
		case "true", "True", "t", "1":
			return 1, nil
		case "false", "False", "f", "0":
			return 0, nil
		}
		return fail()
	}
	if !plainInteger(token) {
		return fail()
	}
	bits := 64
	if k.typ == "int32" || k.typ == "uint32" || k.enum != nil {
		bits = 32
	}
	if strings.HasPrefix(k.typ, "uint") {
		v, err := strconv.ParseUint(token, 0, bits)
		if err != nil {
			return fail()
		}
		return v, nil
	}
	v, err := strconv.ParseInt(token, 0, bits)
	if err != nil {
		return fail()
	}
	return uint64(v), nil
}

// plainInteger refuses what Go reads and text does not have: underscores, plus
// signs, and the prefixes 0b and 0o.
func plainInteger(token string) bool {
	digits := strings.ToLower(strings.TrimPrefix(token, "-"))
	if hex, ok := strings.CutPrefix(digits, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(digits, "0123456789") == ""
}

// before makes an error at the beginning of a token that has been read.
func (p *parser) before(token, format string, args ...any) error {
	p.pos -= len(token)
	return p.errorf(format, args...)
}

// lexer takes a text apart.
type lexer struct {
	text []byte
	pos  int
}

// peek is the next byte, or 0 at the end.
func (l *lexer) peek() byte {
	if l.pos < len(l.text) {
		return l.text[l.pos]
	}
	return 0
}

// space skips white space and comments.
func (l *lexer) space() error {
	for l.pos < len(l.text) {
		switch l.text[l.pos] {
		case ' ', '\t', '\r', '\n', '\v', '\f':
			l.pos++
		case '#':
			for l.pos < len(l.text) && l.text[l.pos] != '\n' {
				l.pos++
			}
		case 0:
			return l.errorf("a NUL byte, which text does not have")
		default:
			return nil
		}
	}
	return nil
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// identifier reads a name; it is empty if there is none.
func (l *lexer) identifier() string {
	start := l.pos
	if c := l.peek(); c >= '0' && c <= '9' {
		return ""
	}
	for l.pos < len(l.text) && isWord(l.text[l.pos]) {
		l.pos++
	}
	return string(l.text[start:l.pos])
}

// token reads a number or a name.
func (l *lexer) token() string {
	start := l.pos
	for l.pos < len(l.text) && (isWord(l.text[l.pos]) || l.text[l.pos] == '.' || l.text[l.pos] == '-' || l.text[l.pos] == '+') {
		l.pos++
	}
	return string(l.text[start:l.pos])
}

// found describes what is there instead of what is wanted.
func (l *lexer) found() string {
	if l.pos >= len(l.text) {
		return "the end"
	}
	return fmt.Sprintf("%q", l.text[l.pos])
}

// strings reads one or more literals, which follow each other.
func (l *lexer) strings() ([]byte, error) {
	if c := l.peek(); c != '"' && c != '\'' {
		return nil, l.errorf("want a string in quotes, found %s", l.found())
	}
	s := []byte{}
	for {
		var err error
		if s, err = l.literal(s); err != nil {
			return nil, err
		}
		if err := l.space(); err != nil {
			return nil, err
		}
		if c := l.peek(); c != '"' && c != '\'' {
			return s, nil
		}
	}
}

// literal appends what one pair of quotes has.
func (l *lexer) literal(s []byte) ([]byte, error) {
	quote := l.text[l.pos]
	for l.pos++; l.pos < len(l.text); {
		switch c := l.text[l.pos]; c {
		case quote:
			l.pos++
			return s, nil
		case '\n':
			return nil, l.errorf("a string ends in the line that it begins in")
		case '\\':
			var err error
			if s, err = l.escape(s); err != nil {
				return nil, err
			}
		default:
			s = append(s, c)
			l.pos++
		}
	}
	return nil, l.errorf("the text ends inside a string")
}

var simpleEscapes = map[byte]byte{
	'n': '\n', 'r': '\r', 't': '\t', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v', '\\': '\\', '\'': '\'', '"': '"', '?': '?',
}

// escape reads what follows a backslash.
func (l *lexer) escape(s []byte) ([]byte, error) {
	rest := l.text[l.pos+1:]
	if len(rest) == 0 {
		return nil, l.errorf("the text ends inside a string")
	}
	c := rest[0]
	if plain, ok := simpleEscapes[c]; ok {
		l.pos += 2
		return append(s, plain), nil
	}
	digits := func(from, most, base int) (uint64, int) {
		n := 0
		for n < most && from+n < len(rest) {
			if _, err := strconv.ParseUint(string(rest[from+n]), base, 8); err != nil {
				break
			}
			n++
		}
		v, err := strconv.ParseUint(string(rest[from:from+n]), base, 32)
		if err != nil {
			return 0, 0
		}
		return v, n
	}
	switch {
	case c >= '0' && c <= '7':
		if v, n := digits(0, 3, 8); n > 0 && v < 256 {
			l.pos += 1 + n
			return append(s, byte(v)), nil
		}
	case c == 'x' || c == 'X':
		if v, n := digits(1, 2, 16); n > 0 {
			l.pos += 2 + n
			return append(s, byte(v)), nil
		}
	case c == 'u' || c == 'U':
		width := 4
		if c == 'U' {
			width = 8
		}
		if v, n := digits(1, width, 16); n == width && v <= utf8.MaxRune && utf8.ValidRune(rune(v)) {
			l.pos += 2 + n
			return utf8.AppendRune(s, rune(v)), nil
		}
	}
	return nil, l.errorf("an escape that does not exist: \\%c", c)
}
