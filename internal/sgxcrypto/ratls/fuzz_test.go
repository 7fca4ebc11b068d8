package ratls

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// gramineExtensions returns the evidence of all vectors of a form with the key it is about.
func gramineExtensions(tb testing.TB, form Form) (values, keys [][]byte) {
	tb.Helper()
	id := oidLegacy
	if form == DICE {
		id = oidDICE
	}
	for _, v := range readVectors(tb) {
		c := v.certificate(tb)
		for _, e := range c.Extensions {
			if e.Id.Equal(id) {
				values, keys = append(values, e.Value), append(keys, c.RawSubjectPublicKeyInfo)
			}
		}
	}
	if len(values) == 0 {
		tb.Fatalf("no vector has a %v extension", form)
	}
	return values, keys
}

// FuzzDICE looks for evidence that is accepted without binding the key.
func FuzzDICE(f *testing.F) {
	values, keys := gramineExtensions(f, DICE)
	for i := range values {
		f.Add(values[i], keys[i])
	}
	spki := spkiOf(f, ecKey())
	f.Add(diceParts{}.build(f, spki), spki)
	f.Add(diceParts{tails: [3][]byte{{1}, {2}, {3}}}.build(f, spki), spki)
	f.Fuzz(func(t *testing.T, value, spki []byte) {
		q, claims, err := parseDICE(value, spki)
		if err != nil {
			if q != nil || claims != nil {
				t.Error("a result beside the error")
			}
			return
		}
		if slices.Contains(claims, pubkeyHash) {
			t.Error("the key's claim is listed among the others")
		}
		_, content, err := splitEvidence(value)
		if err != nil {
			t.Fatal(err)
		}
		if q.Body.ReportData != diceReportData(content) {
			t.Error("accepted report data that does not bind the claims")
		}
		entry, _, err := readClaims(content)
		if err != nil {
			t.Fatal(err)
		}
		alg, digest, err := readHashEntry(entry)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := hashSPKI(alg, spki); err != nil || !slices.Equal(digest, want) {
			t.Errorf("accepted claims that do not bind the key: %v", err)
		}
	})
}

// FuzzCertificate looks for certificates that are accepted without binding their key.
func FuzzCertificate(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.der(f))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		e, err := ParseCertificate(c)
		if err != nil {
			if e != nil {
				t.Error("evidence beside the error")
			}
			return
		}
		if e.SPKI != sha256.Sum256(c.RawSubjectPublicKeyInfo) {
			t.Error("evidence names another key")
		}
		if [32]byte(e.Quote.Body.ReportData[32:]) != [32]byte{} {
			t.Error("accepted report data with an upper half")
		}
		if e.Form == Legacy && [32]byte(e.Quote.Body.ReportData[:32]) != e.SPKI {
			t.Error("accepted report data of another key")
		}
	})
}

// FuzzSplitEvidence holds what is cut out of the bytes against what the CBOR library decodes.
func FuzzSplitEvidence(f *testing.F) {
	values, _ := gramineExtensions(f, DICE)
	for _, v := range values {
		f.Add(v)
	}
	for _, v := range [][]byte{
		nil, {0xd9, 0xea, 0x60}, {0xd9, 0xea, 0x60, 0x82, 0x40, 0x40}, {0xd9, 0xea, 0x60, 0x82, 0x41, 1, 0x58, 1, 2, 3},
		{0xda, 0, 0, 0xea, 0x60, 0x98, 2, 0x59, 0, 1, 1, 0x5b, 0, 0, 0, 0, 0, 0, 0, 1, 2}, {0xd9, 0xea, 0x60, 0x82, 0x41, 1, 0x61, 'a'},
		{0xd9, 0xea, 0x60, 0x83, 0x40, 0x40, 0x40}, {0xd9, 0xea, 0x60, 0x9f, 0x40, 0x40, 0xff}, {0xd9, 0xea, 0x60, 0x82, 0x5f, 0xff, 0x40},
		{0xd9, 0xea, 0x60, 0x40}, {0xc0, 0x82, 0x40, 0x40}, {0xd9, 0xea, 0x60, 0x82, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x40},
	} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		q, claims, err := splitEvidence(value)
		var tag cbor.RawTag
		var pair []cbor.RawMessage
		var want [2][]byte
		_, werr := diceDecoder.UnmarshalFirst(value, &tag)
		good := werr == nil && len(value) > 0 && major(value) == majorTag && tag.Number == diceTag && major(tag.Content) == majorArray &&
			diceDecoder.Unmarshal(tag.Content, &pair) == nil && len(pair) == 2 && major(pair[0]) == majorBytes && major(pair[1]) == majorBytes &&
			diceDecoder.Unmarshal(pair[0], &want[0]) == nil && diceDecoder.Unmarshal(pair[1], &want[1]) == nil
		if good != (err == nil) || good && (string(q) != string(want[0]) || string(claims) != string(want[1])) {
			t.Fatalf("%x and %x, %v; the library has %x, %v", q, claims, err, want, good)
		}
	})
}
