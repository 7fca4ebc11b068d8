package dcap_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

func put16(at, v int) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], uint16(v)); return b }
}

func put32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
}

// Offsets in a quote whose QE authentication data has the usual 32 bytes.
const (
	sectionAt = 432
	authAt    = 1012
	typeAt    = 1046
	lengthAt  = 1048
)

// length adds to one of the quote's 32-bit length fields.
func length(at, delta int) func([]byte) []byte {
	return func(b []byte) []byte {
		return put32(at, uint32(int(binary.LittleEndian.Uint32(b[at:]))+delta))(b)
	}
}

func quoteRows() []row {
	cut := func(n int) func(*lab) {
		return func(l *lab) { l.edit(func(b []byte) []byte { return b[:n] }) }
	}
	bytesOf := func(f func([]byte) []byte) func(*lab) { return func(l *lab) { l.edit(f) } }
	const short, wrongLength = "quote_format/too short", "quote_format/length"
	types := func(values ...int) func(string) []attempt {
		return func(want string) []attempt {
			return each(values, func(l *lab, v int) { l.edit(put16(typeAt, v)) }, want)
		}
	}
	return []row{
		one(1, short, cut(0)),
		one(2, short, cut(47)),
		one(3, short, cut(1019)),
		one(4, "pck_chain/format", func(l *lab) { l.quote().QEAuthData, l.quote().CertificationData = nil, nil }),
		one(5, wrongLength, bytesOf(func(b []byte) []byte { return b[:len(b)-1] })),
		{id: 6, attempts: each([]int{0, 1, 2, 6}, func(l *lab, v int) { l.edit(put16(0, v)) }, "quote_format/version")},
		{id: 7, attempts: each([]int{4, 5}, func(l *lab, v int) { l.edit(put16(0, v)) }, "quote_format/version")},
		{id: 8, attempts: each([]int{0, 1, 3}, func(l *lab, v int) { l.edit(put16(2, v)) }, "quote_format/attestation key type")},
		one(9, "quote_format/TEE type", bytesOf(put32(4, 0x81))),
		one(10, "quote_format/TEE type", bytesOf(put32(4, 1))),
		one(11, "quote_format/QE vendor", bytesOf(func(b []byte) []byte { b[20] ^= 0x10; return b })),
		one(12, wrongLength, bytesOf(length(sectionAt, 1))),
		one(13, wrongLength, bytesOf(length(sectionAt, -1))),
		one(14, wrongLength, bytesOf(put32(sectionAt, 0))),
		one(15, wrongLength, bytesOf(put32(sectionAt, 0xffffffff))),
		one(16, wrongLength, bytesOf(put16(authAt, 0xffff))),
		{id: 17, attempts: each([]int{31, 33}, func(l *lab, v int) { l.edit(put16(authAt, v)) }, wrongLength)},
		one(18, "ok", func(l *lab) { l.p.QE.AuthData = nil }),
		one(19, wrongLength, bytesOf(length(lengthAt, 1))),
		one(20, wrongLength, bytesOf(put32(lengthAt, 0xffffffff))),
		one(21, wrongLength, bytesOf(length(lengthAt, -1))),
		one(22, wrongLength, bytesOf(put32(lengthAt, 0))),
		one(23, wrongLength, bytesOf(func(b []byte) []byte { return append(length(sectionAt, 1)(b), 0) })),
		{id: 24, attempts: []attempt{
			{name: "one byte", want: "quote_format/trailing data", make: bytesOf(func(b []byte) []byte { return append(b, 'x') })},
			{name: "zeros of a fixed buffer", want: "quote_format/trailing data", make: bytesOf(func(b []byte) []byte { return append(b, make([]byte, 3000)...) })},
		}},
		{id: 25, attempts: types(0)("quote_format/certification type")},
		{id: 26, attempts: types(1, 2, 3, 4)("quote_format/certification_data_type")},
		{id: 27, attempts: types(6, 7, 8)("quote_format/certification type")},
		{id: 28, run: realType3},
		one(29, "ok", func(l *lab) { l.chain(crlf(l.p.PCKChain())) }),
		{id: 30, attempts: []attempt{
			{name: "NUL", want: "ok", make: func(l *lab) { l.chain(l.p.PCKChain(), []byte{0}) }},
			{name: "LF", want: "ok", make: func(l *lab) { l.chain(l.p.PCKChain(), []byte("\n")) }},
			{name: "neither", want: "ok", make: func(l *lab) { l.chain(l.p.PCKChain()[:len(l.p.PCKChain())-1]) }},
			{name: "LF and NUL", want: "ok", make: func(l *lab) { l.chain(l.p.PCKChain(), []byte("\n\x00")) }},
		}},
		{id: 31, attempts: []attempt{
			{name: "after", want: "pck_chain/format", make: func(l *lab) { l.chain(l.p.PCKChain(), []byte("see also")) }},
			{name: "before", want: "pck_chain/format", make: func(l *lab) { l.chain([]byte("PCK:\n"), l.p.PCKChain()) }},
			{name: "NUL in the middle", want: "pck_chain/format", make: func(l *lab) { l.chain(l.p.PCK.PEM(), []byte{0}, l.p.CA().PEM(), l.p.Root.PEM()) }},
			{name: "vertical tab", want: "pck_chain/format", make: func(l *lab) { l.chain(l.p.PCKChain(), []byte{'\v'}) }},
			{name: "two NUL", want: "pck_chain/format", make: func(l *lab) { l.chain(l.p.PCKChain(), []byte{0, 0}) }},
			{name: "headers", want: "pck_chain/format", make: func(l *lab) {
				l.chain(text(l.p.PCKChain(), "CERTIFICATE-----\n", "CERTIFICATE-----\nProc-Type: 4\n\n"))
			}},
		}},
		{id: 32, attempts: []attempt{
			{name: "hex", want: "quote_format/version", make: bytesOf(func(b []byte) []byte { return []byte(hex.EncodeToString(b)) })},
			{name: "base64", want: "quote_format/version", make: bytesOf(func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) })},
		}},
	}
}

// realType3 gives a real quote whose platform had no PCK chain at hand.
func realType3(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(testshared.Dir(t, "vectors/dcap"), "oasis-eppid", "quote.bin"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, "")
	l.q, err = quote.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if l.q.CertificationType != quote.CertPPIDRSA3072 {
		t.Fatalf("the quote has %s", l.q.CertificationType)
	}
	if _, err := l.verify(nil); code(err) != "quote_format/certification_data_type" {
		t.Errorf("outcome %s (%v)", code(err), err)
	}
}
