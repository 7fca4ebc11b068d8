package ratls

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// diceParts are the levels of DICE evidence, each of which a test may write wrongly.
type diceParts struct {
	entry  any    // of the claim pubkey-hash
	claims any    // map, or []byte to be taken as they are
	tag    uint64 // 0: the right one
	pair   func(rawQuote, claims []byte) any
	data   func(claims []byte) [64]byte // report data
	tails  [3][]byte                    // after hash entry, claims, evidence
}

func cborOf(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (p diceParts) build(tb testing.TB, spki []byte) []byte {
	tb.Helper()
	if p.entry == nil {
		sum := sha256.Sum256(spki)
		p.entry = []any{1, sum[:]}
	}
	entry := append(cborOf(tb, p.entry), p.tails[0]...)
	if p.claims == nil {
		p.claims = map[string]any{"pubkey-hash": entry}
	}
	claims, raw := p.claims.([]byte)
	if !raw {
		claims = cborOf(tb, p.claims)
	}
	claims = append(claims, p.tails[1]...)
	if p.data == nil {
		p.data = diceReportData
	}
	if p.pair == nil {
		p.pair = func(q, c []byte) any { return [][]byte{q, c} }
	}
	if p.tag == 0 {
		p.tag = 60000
	}
	value := cborOf(tb, cbor.Tag{Number: p.tag, Content: p.pair(stubQuote(tb, p.data(claims)), claims)})
	return append(value, p.tails[2]...)
}

func TestParseDICE(t *testing.T) {
	spki := spkiOf(t, ecKey())
	sum256, sum384, sum512 := sha256.Sum256(spki), sha512.Sum384(spki), sha512.Sum512(spki)
	right := cborOf(t, []any{1, sum256[:]})
	rubbish := []byte{0xff, 0x00, 0x5f}
	for _, tt := range []struct {
		name   string
		parts  diceParts
		claims []string
		kind   Kind // 0: accepted
		text   string
	}{
		{name: "as Gramine writes it"},
		{name: "SHA-384", parts: diceParts{entry: []any{7, sum384[:]}}},
		{name: "SHA-512", parts: diceParts{entry: []any{8, sum512[:]}}},
		{name: "rubbish after the hash entry", parts: diceParts{tails: [3][]byte{rubbish, nil, nil}}},
		{name: "rubbish after the claims", parts: diceParts{tails: [3][]byte{nil, rubbish, nil}}},
		{name: "rubbish after the evidence", parts: diceParts{tails: [3][]byte{nil, nil, rubbish}}},
		{name: "rubbish after everything", parts: diceParts{tails: [3][]byte{rubbish, rubbish, rubbish}}},
		{
			name: "other claims", claims: []string{"a", "nonce"},
			parts: diceParts{claims: map[string]any{"pubkey-hash": right, "nonce": []byte{1}, "a": map[string]int{"b": 1}}},
		},
		{
			name: "no claims", parts: diceParts{claims: map[string]any{}},
			kind: BadEvidence, text: `DICE extension: read claims: found claims [], want "pubkey-hash": without it the quote binds no key`,
		},
		{
			name: "a nonce alone", parts: diceParts{claims: map[string]any{"nonce": []byte{1}}},
			kind: BadEvidence, text: `DICE extension: read claims: found claims ["nonce"], want "pubkey-hash": without it the quote binds no key`,
		},
		{
			name: "two public keys, the second one right",
			parts: diceParts{claims: append(append([]byte{0xa2}, append(cborOf(t, "pubkey-hash"), cborOf(t, cborOf(t, []any{1, fill(32, 9)}))...)...),
				append(cborOf(t, "pubkey-hash"), cborOf(t, right)...)...)},
			kind: BadEvidence, text: "DICE extension: read claims: cbor: found duplicate map key",
		},
		{
			name: "claim in another letter case", parts: diceParts{claims: map[string]any{"Pubkey-Hash": right}},
			kind: BadEvidence, text: `DICE extension: read claims: found claims ["Pubkey-Hash"], want "pubkey-hash"`,
		},
		{
			name: "claim's name is a byte string", parts: diceParts{claims: map[cbor.ByteString]any{"pubkey-hash": right}},
			kind: BadEvidence, text: "DICE extension: read claims: cbor: cannot unmarshal byte string into Go value of type string",
		},
		{
			name: "claims are an array", parts: diceParts{claims: []any{"pubkey-hash", right}},
			kind: BadEvidence, text: "DICE extension: read claims: found CBOR major type 4, want a map",
		},
		{
			name: "claims are empty", parts: diceParts{claims: []byte{}},
			kind: BadEvidence, text: "DICE extension: read claims: EOF",
		},
		{
			name: "claims of indefinite length", parts: diceParts{claims: append(append([]byte{0xbf}, append(cborOf(t, "pubkey-hash"), cborOf(t, right)...)...), 0xff)},
			kind: BadEvidence, text: "DICE extension: read claims: cbor: indefinite-length map isn't allowed",
		},
		{
			name: "hash entry not wrapped", parts: diceParts{claims: map[string]any{"pubkey-hash": []any{1, sum256[:]}}},
			kind: BadEvidence, text: "DICE extension: read claims: claim pubkey-hash: found CBOR major type 4, want a byte string",
		},
		{
			name: "hash entry of one", parts: diceParts{entry: []any{1}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found an array of 1, want 2",
		},
		{
			name: "hash entry of three", parts: diceParts{entry: []any{1, sum256[:], sum256[:]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found an array of 3, want 2",
		},
		{
			name: "hash entry is a map", parts: diceParts{entry: map[int]any{1: sum256[:]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found CBOR major type 5, want an array",
		},
		{
			name: "algorithm by name", parts: diceParts{entry: []any{"sha-256", sum256[:]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: algorithm: found CBOR major type 3, want an unsigned integer",
		},
		{
			name: "algorithm is negative", parts: diceParts{entry: []any{-1, sum256[:]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: algorithm: found CBOR major type 1, want an unsigned integer",
		},
		{
			name: "algorithm unknown", parts: diceParts{entry: []any{2, sum256[:16]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found hash algorithm 2, want 1 (SHA-256), 7 (SHA-384) or 8 (SHA-512)",
		},
		{
			name: "digest truncated", parts: diceParts{entry: []any{1, sum256[:31]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found a digest of 31 bytes, want 32",
		},
		{
			name: "digest empty", parts: diceParts{entry: []any{1, []byte{}}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found a digest of 0 bytes, want 32",
		},
		{
			name: "digest of the wrong algorithm", parts: diceParts{entry: []any{8, sum256[:]}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: found a digest of 32 bytes, want 64",
		},
		{
			name: "digest as text", parts: diceParts{entry: []any{1, hex.EncodeToString(sum256[:])}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: digest: found CBOR major type 3, want a byte string",
		},
		{
			name: "digest as numbers", parts: diceParts{entry: []any{1, []int{1, 2, 3}}},
			kind: BadEvidence, text: "DICE extension: read claim pubkey-hash: digest: found CBOR major type 4, want a byte string",
		},
		{
			name: "another key's digest", parts: diceParts{entry: []any{1, fill(32, 1)}},
			kind: NotBound, text: "DICE extension: claim pubkey-hash is 0101010101010101010101010101010101010101010101010101010101010101, want ",
		},
		{
			name: "wrong tag", parts: diceParts{tag: 60001},
			kind: BadEvidence, text: "DICE extension: read evidence: found CBOR tag 60001, want 60000",
		},
		{
			name: "evidence of one", parts: diceParts{pair: func(q, _ []byte) any { return [][]byte{q} }},
			kind: BadEvidence, text: "DICE extension: read evidence: found an array of 1, want 2",
		},
		{
			name: "evidence of three", parts: diceParts{pair: func(q, c []byte) any { return [][]byte{q, c, c} }},
			kind: BadEvidence, text: "DICE extension: read evidence: found an array of 3, want 2",
		},
		{
			name: "evidence is a map", parts: diceParts{pair: func(q, c []byte) any { return map[int][]byte{0: q, 1: c} }},
			kind: BadEvidence, text: "DICE extension: read evidence: found CBOR major type 5, want an array of 2",
		},
		{
			name: "quote as numbers", parts: diceParts{pair: func(_, c []byte) any { return []any{slices.Repeat([]uint64{1 << 63}, 16), c} }},
			kind: BadEvidence, text: "DICE extension: read evidence: quote: found CBOR major type 4, want a byte string",
		},
		{
			name: "claims not wrapped", parts: diceParts{pair: func(q, _ []byte) any { return []any{q, map[string]any{"pubkey-hash": right}} }},
			kind: BadEvidence, text: "DICE extension: read evidence: claims: found CBOR major type 5, want a byte string",
		},
		{
			name: "quote and claims swapped", parts: diceParts{pair: func(q, c []byte) any { return [][]byte{c, q} }},
			kind: BadQuote, text: "DICE extension: parse quote: ",
		},
		{
			name: "quote truncated", parts: diceParts{pair: func(q, c []byte) any { return [][]byte{q[:len(q)-1], c} }},
			kind: BadQuote, text: "DICE extension: parse quote: ",
		},
		{
			name:  "report data binds the claims without their rubbish",
			parts: diceParts{tails: [3][]byte{nil, rubbish, nil}, data: func(c []byte) [64]byte { return diceReportData(c[:len(c)-len(rubbish)]) }},
			kind:  NotBound, text: "DICE extension: report data begins with ",
		},
		{
			name:  "report data of the legacy form",
			parts: diceParts{data: func([]byte) [64]byte { return legacyReportData(spki) }},
			kind:  NotBound, text: "DICE extension: report data begins with ",
		},
		{
			name: "report data with an upper half",
			parts: diceParts{data: func(c []byte) [64]byte {
				d := diceReportData(c)
				d[63] = 1
				return d
			}},
			kind: NotBound, text: "DICE extension: report data ends with 0000000000000000000000000000000000000000000000000000000000000001, want 32 zero bytes",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			value := tt.parts.build(t, spki)
			e, err := ParseCertificate(selfSigned(t, ecKey(), pkix.Extension{Id: oidDICE, Value: value}))
			if tt.kind != 0 {
				checkError(t, err, tt.kind, "read RA-TLS certificate: "+tt.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.claims, e.Claims); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDICENotCBOR takes values that are no CBOR at all, padded to the smallest size.
func TestDICENotCBOR(t *testing.T) {
	for name, value := range map[string][]byte{
		"a quote":        stubQuote(t, [64]byte{}),
		"zeros":          make([]byte, 128),
		"breaks":         fill(128, 0xff),
		"deep nesting":   fill(128, 0x81),
		"a huge length":  append([]byte{0xd9, 0xea, 0x60, 0x82, 0x5b}, fill(128, 0xff)...),
		"a million tags": append([]byte{0xd9, 0xea, 0x60, 0x9a, 0xff, 0xff, 0xff, 0xff}, make([]byte, 128)...),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCertificate(selfSigned(t, ecKey(), pkix.Extension{Id: oidDICE, Value: value}))
			checkError(t, err, BadEvidence, "read RA-TLS certificate: DICE extension: read evidence: ")
		})
	}
}

// TestEncodeDICE compares with the bytes that Gramine 1.9 wrote: 60 beside the quote, the claims last.
func TestEncodeDICE(t *testing.T) {
	c := parseDER(t, readFile(t, "gramine/good_v1.9.der"))
	var value []byte
	for _, ext := range c.Extensions {
		if ext.Id.Equal(oidDICE) {
			value = ext.Value
		}
	}
	rawQuote, claims, err := splitEvidence(value)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := encodeClaims(c.RawSubjectPublicKeyInfo, false)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, claims) {
		t.Errorf("claims %x, Gramine writes %x", ours, claims)
	}
	evidence, err := encodeEvidence(rawQuote, ours, false)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(evidence, value) {
		t.Error("evidence differs from Gramine's")
	}
	if n := len(evidence) - len(rawQuote); n != 60 {
		t.Errorf("evidence is %d bytes longer than the quote, want 60", n)
	}
}

// TestDICEBindsEveryBit flips one bit anywhere in accepted evidence: it must be refused, or be about the same quote and key (the
// bit lay in what follows an item, or in a part of the quote that its own signatures protect).
func TestDICEBindsEveryBit(t *testing.T) {
	spki := spkiOf(t, ecKey())
	rapid.Check(t, func(rt *rapid.T) {
		parts := diceParts{}
		for i := range parts.tails {
			parts.tails[i] = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "tail")
		}
		value := parts.build(t, spki)
		before, _, err := parseDICE(value, spki)
		if err != nil {
			rt.Fatalf("refused untouched evidence: %v", err)
		}
		bit := rapid.IntRange(0, 8*len(value)-1).Draw(rt, "bit")
		value[bit/8] ^= 1 << (bit % 8)
		after, _, err := parseDICE(value, spki)
		if err == nil && after.Body.ReportData != before.Body.ReportData {
			rt.Fatalf("bit %d of the evidence changes what is bound, and is accepted", bit)
		}
	})
}
