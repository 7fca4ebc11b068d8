package tlsmaterials

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxSSLConfig bounds what is parsed, in bytes. A real file has a few KiB.
const maxSSLConfig = 1 << 20

// ParseSSLConfig reads an ssl.cfg as TensorFlow Serving does: what google::protobuf::TextFormat::Parse accepts for this
// message is accepted and gives the same values, everything else is an error. That includes files TensorFlow Serving
// would abort on, such as one with an unknown field or a line break inside a literal. The values are not looked at.
//
// No error contains text from the file but field names.
func ParseSSLConfig(data []byte) (*SSLConfig, error) {
	if len(data) > maxSSLConfig {
		return nil, fmt.Errorf("parse ssl.cfg: %d bytes, more than %d", len(data), maxSSLConfig)
	}
	p := &textParser{in: string(data), line: 1}
	c, err := p.message()
	if err != nil {
		return nil, fmt.Errorf("parse ssl.cfg: line %d: %w", p.line, err)
	}
	return c, nil
}

// textParser is a recursive descent parser over the grammar
//
//	message = { name ":" value [ ";" | "," ] }
//	value   = literal { literal }  |  boolean
type textParser struct {
	in   string
	at   int
	line int
}

func (p *textParser) message() (*SSLConfig, error) {
	c := &SSLConfig{}
	for {
		p.skipSpace()
		if p.at == len(p.in) {
			return c, nil
		}
		if err := p.field(c); err != nil {
			return nil, err
		}
		p.skipSpace()
		if p.at < len(p.in) && (p.in[p.at] == ';' || p.in[p.at] == ',') {
			p.at++
		}
	}
}

func (p *textParser) field(c *SSLConfig) error {
	name := p.identifier()
	if name == "" {
		return errors.New("expected a field name")
	}
	if field := c.stringField(name); field != nil {
		if *field != "" {
			return fmt.Errorf("field %s is given twice", name)
		}
		if err := p.colon(name); err != nil {
			return err
		}
		value, err := p.literals()
		if err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
		*field = value
		return nil
	}
	if name != "client_verify" {
		return fmt.Errorf("unknown field%s: the fields are server_key, server_cert, custom_ca and client_verify", showName(name))
	}
	// A field that holds its default counts as absent in proto3, so TensorFlow Serving allows it to be set again.
	if c.ClientVerify {
		return errors.New("field client_verify is given twice")
	}
	if err := p.colon(name); err != nil {
		return err
	}
	value, err := p.boolean()
	if err != nil {
		return fmt.Errorf("field client_verify: %w", err)
	}
	c.ClientVerify = value
	return nil
}

func (c *SSLConfig) stringField(name string) *string {
	switch name {
	case "server_key":
		return &c.ServerKey
	case "server_cert":
		return &c.ServerCert
	case "custom_ca":
		return &c.CustomCA
	default:
		return nil
	}
}

func (p *textParser) colon(name string) error {
	p.skipSpace()
	if p.at == len(p.in) || p.in[p.at] != ':' {
		return fmt.Errorf("expected a colon after %s", name)
	}
	p.at++
	p.skipSpace()
	return nil
}

// skipSpace passes white space and comments.
func (p *textParser) skipSpace() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case '\n':
			p.line++
		case ' ', '\t', '\r', '\v', '\f':
		case '#':
			for p.at < len(p.in) && p.in[p.at] != '\n' && p.in[p.at] != 0 {
				p.at++
			}
			continue
		default:
			return
		}
		p.at++
	}
}

// identifier reads a name, or nothing.
func (p *textParser) identifier() string {
	start := p.at
	for p.at < len(p.in) && (isLetter(p.in[p.at]) || p.at > start && isDigit(p.in[p.at])) {
		p.at++
	}
	return p.in[start:p.at]
}

// boolean reads one of the spellings of true and false, among them the numbers 1 and 0 in each base.
func (p *textParser) boolean() (bool, error) {
	if p.at < len(p.in) && isDigit(p.in[p.at]) {
		return p.number()
	}
	switch p.identifier() {
	case "true", "True", "t":
		return true, nil
	case "false", "False", "f":
		return false, nil
	default:
		return false, errors.New("expected true or false")
	}
}

func (p *textParser) number() (bool, error) {
	start := p.at
	for p.at < len(p.in) && (isLetter(p.in[p.at]) || isDigit(p.in[p.at]) || p.in[p.at] == '.') {
		p.at++
	}
	text := p.in[start:p.at]
	digits := text
	if rest, ok := cutPrefixFold(text, "0x"); ok && rest != "" {
		digits = rest
	}
	switch strings.TrimLeft(digits[:len(digits)-1], "0") + digits[len(digits)-1:] {
	case "0":
		return false, nil
	case "1":
		return true, nil
	default:
		return false, errors.New("expected true, false, 1 or 0")
	}
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// literals reads one string literal and those that follow it, which continue it.
func (p *textParser) literals() (string, error) {
	var b strings.Builder
	for n := 0; ; n++ {
		if p.at == len(p.in) || p.in[p.at] != '"' && p.in[p.at] != '\'' {
			if n == 0 {
				return "", errors.New("expected a string in quotes")
			}
			return b.String(), nil
		}
		if err := p.literal(&b); err != nil {
			return "", err
		}
		p.skipSpace()
	}
}

func (p *textParser) literal(b *strings.Builder) error {
	quote := p.in[p.at]
	p.at++
	for p.at < len(p.in) {
		switch c := p.in[p.at]; c {
		case quote:
			p.at++
			return nil
		case '\n':
			return errors.New(`the string goes over the end of the line: write each line of PEM as "...\n" in its own quotes`)
		case 0:
			return errors.New("the string contains a NUL byte")
		case '\\':
			p.at++
			if err := p.escape(b); err != nil {
				return err
			}
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return errors.New("the string has no closing quote")
}

var simpleEscapes = map[byte]byte{
	'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
	'\\': '\\', '?': '?', '\'': '\'', '"': '"',
}

// escape reads what follows a backslash.
func (p *textParser) escape(b *strings.Builder) error {
	if p.at == len(p.in) {
		return errors.New("the string has no closing quote")
	}
	c := p.in[p.at]
	if plain, ok := simpleEscapes[c]; ok {
		p.at++
		b.WriteByte(plain)
		return nil
	}
	switch {
	case c >= '0' && c <= '7':
		v, _ := p.digits(8, 3)
		b.WriteByte(byte(v)) // TextFormat keeps the low eight bits of \777 too
	case c == 'x' || c == 'X':
		p.at++
		v, n := p.digits(16, 2)
		if n == 0 {
			return errors.New(`expected hexadecimal digits after \x`)
		}
		b.WriteByte(byte(v))
	case c == 'u' || c == 'U':
		return p.unicode(b)
	default:
		return errors.New("a backslash is followed by a character that has no meaning there")
	}
	return nil
}

// unicode reads \uXXXX or \UXXXXXXXX; two of the first kind may form a surrogate pair.
func (p *textParser) unicode(b *strings.Builder) error {
	v, err := p.codePoint()
	if err != nil {
		return err
	}
	if v >= 0xd800 && v < 0xdc00 && strings.HasPrefix(p.in[p.at:], `\u`) {
		start := p.at
		p.at++
		low, err := p.codePoint()
		if err != nil {
			return err
		}
		if low >= 0xdc00 && low < 0xe000 {
			v = 0x10000 + (v-0xd800)<<10 + (low - 0xdc00)
		} else {
			p.at = start
		}
	}
	switch {
	case v >= 0xd800 && v < 0xe000:
		// TextFormat writes the surrogate's own three bytes, which are no valid UTF-8 and never PEM.
		b.Write([]byte{0xe0 | byte(v>>12), 0x80 | byte(v>>6&0x3f), 0x80 | byte(v&0x3f)})
	case v > utf8.MaxRune:
		fmt.Fprintf(b, `\U%08x`, v) // TextFormat gives the escape back, too.
	default:
		b.WriteRune(rune(v))
	}
	return nil
}

func (p *textParser) codePoint() (uint32, error) {
	want := 4
	if p.in[p.at] == 'U' {
		want = 8
	}
	p.at++
	v, n := p.digits(16, want)
	if n != want {
		return 0, fmt.Errorf("expected %d hexadecimal digits", want)
	}
	if v > 0x1fffff {
		return 0, errors.New("the code point is beyond Unicode")
	}
	return v, nil
}

// digits reads up to limit digits of a base and tells how many there were.
func (p *textParser) digits(base uint32, limit int) (v uint32, n int) {
	for ; n < limit && p.at < len(p.in); n++ {
		d, ok := digit(p.in[p.at])
		if !ok || d >= base {
			break
		}
		v = v*base + d
		p.at++
	}
	return v, n
}

func digit(c byte) (uint32, bool) {
	switch {
	case isDigit(c):
		return uint32(c - '0'), true
	case c >= 'a' && c <= 'f':
		return uint32(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10, true
	default:
		return 0, false
	}
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// showName repeats a name in an error only if it looks like a field's: in a file with a misplaced quote it may as well
// be a piece of the private key.
func showName(name string) string {
	if len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return fmt.Sprintf(" %q", name)
}
