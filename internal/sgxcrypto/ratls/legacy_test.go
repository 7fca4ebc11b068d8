package ratls

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"testing"
)

// TestLegacyOID spells the odd OID out: the content is the DER of the OID that was meant.
func TestLegacyOID(t *testing.T) {
	der, err := asn1.Marshal(oidLegacy)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(der), "060b06092a864886f84d8a3906"; got != want {
		t.Errorf("DER %s, want %s", got, want)
	}
	meant, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113741, 1337, 6})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(der[2:]), hex.EncodeToString(meant); got != want {
		t.Errorf("content %s, want %s", got, want)
	}
}

func TestParseLegacy(t *testing.T) {
	spki := spkiOf(t, ecKey())
	right := legacyReportData(spki)
	upper, wrong := right, right
	upper[32] = 0x80
	wrong[0] ^= 1
	good := stubQuote(t, right)
	for _, tt := range []struct {
		name  string
		value []byte
		kind  Kind
		text  string
	}{
		{name: "right", value: good},
		{name: "another key", value: stubQuote(t, wrong), kind: NotBound, text: "legacy quote extension: report data begins with "},
		{name: "no key", value: stubQuote(t, [64]byte{}), kind: NotBound, text: "legacy quote extension: report data begins with 0000000000000000000000000000000000000000000000000000000000000000, want "},
		{name: "upper half", value: stubQuote(t, upper), kind: NotBound, text: "legacy quote extension: report data ends with 8000000000000000000000000000000000000000000000000000000000000000, want 32 zero bytes"},
		{name: "byte after the quote", value: append(good[:len(good):len(good)], 0), kind: BadQuote, text: "legacy quote extension: parse quote: "},
		{name: "truncated", value: good[:len(good)-1], kind: BadQuote, text: "legacy quote extension: parse quote: "},
		{name: "another version", value: append([]byte{4}, good[1:]...), kind: BadQuote, text: "legacy quote extension: parse quote: "},
		{name: "wrapped in an OCTET STRING", value: mustDER(t, good), kind: BadQuote, text: "legacy quote extension: parse quote: "},
		{name: "too small", value: good[:127], kind: BadEvidence, text: "legacy quote extension: found 127 bytes, want 128 to 8192"},
		{name: "empty", value: []byte{}, kind: BadEvidence, text: "legacy quote extension: found 0 bytes, want 128 to 8192"},
		{name: "too large", value: append(good[:len(good):len(good)], make([]byte, 8192)...), kind: BadEvidence, text: "legacy quote extension: found 9212 bytes, want 128 to 8192"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := ParseCertificate(selfSigned(t, ecKey(), pkix.Extension{Id: oidLegacy, Value: tt.value}))
			if tt.kind != 0 {
				checkError(t, err, tt.kind, "read RA-TLS certificate: "+tt.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Form != Legacy || e.KeyType != ECDSAP256 || e.Client() != "not Gramine" {
				t.Errorf("found %v, %v, %s", e.Form, e.KeyType, e.Client())
			}
		})
	}
}

func mustDER(tb testing.TB, v any) []byte {
	tb.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}
