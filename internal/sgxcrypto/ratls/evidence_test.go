package ratls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
)

// TestParseGramineCertificates reads certificates that Gramine's own libraries made.
func TestParseGramineCertificates(t *testing.T) {
	want := map[string]struct {
		form   Form
		key    KeyType
		client string
	}{
		"v1.0": {Legacy, RSA3072, "Gramine 1.0 to 1.3.1"},
		"v1.5": {Legacy, ECDSAP384, "Gramine 1.4 to 1.7"},
		"v1.8": {DICE, ECDSAP384, "Gramine 1.8 or later"},
		"v1.9": {DICE, ECDSAP384, "Gramine 1.8 or later"},
	}
	for _, v := range readVectors(t) {
		t.Run(v.File, func(t *testing.T) {
			e, err := ParseCertificate(v.certificate(t))
			if v.Env == "FAKE_TAMPER=wrong-report-data" {
				checkError(t, err, NotBound, "read RA-TLS certificate: DICE extension: report data begins with ")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w := want[v.Client]
			if e.Form != w.form || e.KeyType != w.key || e.Client() != w.client {
				t.Errorf("found %v, %v, %s; want %v, %v, %s", e.Form, e.KeyType, e.Client(), w.form, w.key, w.client)
			}
			if len(e.Claims) != 0 {
				t.Errorf("claims %q, want none", e.Claims)
			}
			if got, want := e.Quote.Body.MRENCLAVE[:], bytes.Repeat([]byte{0xab}, 32); !bytes.Equal(got, want) {
				t.Errorf("MRENCLAVE %x, want %x", got, want)
			}
			if got, want := e.Quote.Body.Attributes.Debug(), v.Env == "FAKE_DEBUG=1"; got != want {
				t.Errorf("debug %v, want %v", got, want)
			}
		})
	}
}

// TestDICEGoverns puts both forms into one certificate.
func TestDICEGoverns(t *testing.T) {
	spki := spkiOf(t, ecKey())
	goodLegacy := pkix.Extension{Id: oidLegacy, Value: stubQuote(t, legacyReportData(spki))}
	badLegacy := pkix.Extension{Id: oidLegacy, Value: []byte("no quote")}
	goodDICE := pkix.Extension{Id: oidDICE, Value: diceParts{}.build(t, spki)}
	badDICE := pkix.Extension{Id: oidDICE, Value: diceParts{tag: 1234}.build(t, spki)}
	shortDICE := pkix.Extension{Id: oidDICE, Value: []byte{0xd9}}
	for _, tt := range []struct {
		name       string
		extensions []pkix.Extension
		kind       Kind
		text       string
	}{
		{"both good", []pkix.Extension{goodLegacy, goodDICE}, 0, ""},
		{"DICE first", []pkix.Extension{goodDICE, goodLegacy}, 0, ""},
		{"bad legacy beside it", []pkix.Extension{badLegacy, goodDICE}, 0, ""},
		{"bad DICE is final", []pkix.Extension{goodLegacy, badDICE}, BadEvidence, "DICE extension: read evidence: found CBOR tag 1234"},
		{"so is a short one", []pkix.Extension{goodLegacy, shortDICE}, BadEvidence, "DICE extension: found 1 bytes, want 128 to 8192"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := ParseCertificate(selfSigned(t, ecKey(), tt.extensions...))
			if tt.kind != 0 {
				checkError(t, err, tt.kind, "read RA-TLS certificate: "+tt.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Form != DICE {
				t.Errorf("form %v, want %v", e.Form, DICE)
			}
		})
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	spki := spkiOf(t, ecKey())
	critical := pkix.Extension{Id: oidLegacy, Critical: true, Value: stubQuote(t, legacyReportData(spki))}
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	for _, tt := range []struct {
		name string
		cert *x509.Certificate
		kind Kind
		text string
	}{
		{"nil", nil, NoCertificate, "no certificate"},
		{"no evidence", selfSigned(t, ecKey()), NoEvidence, "found no attestation evidence (extension 2.23.133.5.4.9 or 0.6.9.42.840.113741.1337.6): not the certificate of an RA-TLS client"},
		{"evidence is critical", selfSigned(t, ecKey(), critical), BadCertificate, "found critical extension 0.6.9.42.840.113741.1337.6, want none but X.509's own"},
		{"unknown and critical", selfSigned(t, ecKey(), unknown), BadCertificate, "found critical extension 1.2.3, want none but X.509's own"},
	} {
		_, err := ParseCertificate(tt.cert)
		checkError(t, err, tt.kind, "read RA-TLS certificate: "+tt.text)
	}
}

func TestKeyTypes(t *testing.T) {
	ec := func(c elliptic.Curve) any {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key.Public()
	}
	modulus := func(bits int) *big.Int { return new(big.Int).SetBit(big.NewInt(1), bits-1, 1) }
	const want = ", want RSA-3072 with exponent 65537, ECDSA P-256 or ECDSA P-384"
	for _, tt := range []struct {
		name string
		key  any
		want KeyType
		text string
	}{
		{"P-256", ec(elliptic.P256()), ECDSAP256, ""},
		{"P-384", ec(elliptic.P384()), ECDSAP384, ""},
		{"RSA-3072", &rsa.PublicKey{N: modulus(3072), E: 65537}, RSA3072, ""},
		{"P-224", ec(elliptic.P224()), 0, "found an ECDSA key on P-224" + want},
		{"P-521", ec(elliptic.P521()), 0, "found an ECDSA key on P-521" + want},
		{"RSA-2048", &rsa.PublicKey{N: modulus(2048), E: 65537}, 0, "found an RSA key of 2048 bits" + want},
		{"RSA-3071", &rsa.PublicKey{N: modulus(3071), E: 65537}, 0, "found an RSA key of 3071 bits" + want},
		{"RSA-4096", &rsa.PublicKey{N: modulus(4096), E: 65537}, 0, "found an RSA key of 4096 bits" + want},
		{"exponent 3", &rsa.PublicKey{N: modulus(3072), E: 3}, 0, "found an RSA key with exponent 3" + want},
		{"Ed25519", ed25519.PublicKey(make([]byte, 32)), 0, "found a key of type ed25519.PublicKey" + want},
		{"unknown to crypto/x509", nil, 0, "found a key of unknown kind" + want},
	} {
		got, err := keyTypeOf(tt.key)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.text {
			t.Errorf("%s: key type %v, error %q; want %v, %q", tt.name, got, text, tt.want, tt.text)
		}
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseCertificate(selfSigned(t, ed, pkix.Extension{Id: oidLegacy, Value: stubQuote(t, legacyReportData(spkiOf(t, ed)))}))
	checkError(t, err, BadKey, "read RA-TLS certificate: found a key of type ed25519.PublicKey"+want)
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Form(0).String(), "form 0"}, {Legacy.String(), "legacy quote"}, {DICE.String(), "DICE"},
		{(Legacy | DICE).String(), "legacy quote and DICE"}, {Form(4).String(), "form 4"},
		{RSA3072.String(), "RSA-3072"}, {ECDSAP256.String(), "ECDSA P-256"}, {ECDSAP384.String(), "ECDSA P-384"}, {KeyType(0).String(), "key type 0"},
		{NoCertificate.String(), "no_certificate"}, {BadCertificate.String(), "bad_certificate"}, {BadKey.String(), "bad_key"},
		{NoEvidence.String(), "no_evidence"}, {BadEvidence.String(), "bad_evidence"}, {BadQuote.String(), "bad_quote"},
		{NotBound.String(), "not_bound"}, {Kind(0).String(), "kind_0"},
	} {
		if tt.got != tt.want {
			t.Errorf("name %q, want %q", tt.got, tt.want)
		}
	}
}
