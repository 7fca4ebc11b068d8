package ratls

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNewCertificateLooksLikeGramines compares certificates with those that Gramine's libraries made: everything must be
// the same, byte for byte, but key, key identifiers, evidence and signature.
func TestNewCertificateLooksLikeGramines(t *testing.T) {
	for release, file := range map[string]string{
		"1.0": "good_v1.0.der", "1.5": "good_v1.5.der", "1.8": "good_v1.8.der", "1.9": "good_v1.9.der",
	} {
		t.Run(release, func(t *testing.T) {
			opts, err := GramineOptions(release)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := NewCertificate(t.Context(), stubQuoter{size: 4430 - 1020}, opts)
			if err != nil {
				t.Fatal(err)
			}
			want := readFile(t, "gramine/"+file)
			ours, theirs := outline(t, cert.Certificate[0]), outline(t, want)
			if ours != theirs {
				t.Errorf("outline\n%s\nwant\n%s", ours, theirs)
			}
			// The DER of an ECDSA signature varies by a few bytes.
			if d := len(cert.Certificate[0]) - len(want); d < -8 || d > 8 {
				t.Errorf("size %d, Gramine's is %d", len(cert.Certificate[0]), len(want))
			}
			if _, err := ParseCertificate(cert.Leaf); err != nil {
				t.Error(err)
			}
			if err := cert.Leaf.CheckSignature(cert.Leaf.SignatureAlgorithm, cert.Leaf.RawTBSCertificate, cert.Leaf.Signature); err != nil {
				t.Errorf("self-signature: %v", err)
			}
		})
	}
}

// outline is what does not depend on key and quote.
func outline(t *testing.T, der []byte) string {
	t.Helper()
	var cert struct {
		TBS struct {
			Raw        asn1.RawContent
			Version    asn1.RawValue `asn1:"explicit,tag:0"`
			Serial     asn1.RawValue
			Algorithm  asn1.RawValue
			Issuer     asn1.RawValue
			Validity   asn1.RawValue
			Subject    asn1.RawValue
			PublicKey  struct{ Algorithm, Key asn1.RawValue }
			Extensions []pkix.Extension `asn1:"explicit,tag:3"`
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &cert); err != nil || len(rest) > 0 {
		t.Fatalf("parse certificate: %v, %d bytes left", err, len(rest))
	}
	var b strings.Builder
	for _, v := range []asn1.RawValue{
		cert.TBS.Version, cert.TBS.Serial, cert.TBS.Algorithm, cert.TBS.Issuer, cert.TBS.Validity, cert.TBS.Subject,
		cert.TBS.PublicKey.Algorithm, cert.Algorithm,
	} {
		b.WriteString(hexOf(v.FullBytes) + "\n")
	}
	for _, e := range cert.TBS.Extensions {
		der := mustDER(t, e.Id)
		b.WriteString(hexOf(der))
		if e.Critical {
			b.WriteString(" critical")
		}
		switch {
		case e.Id.Equal(oidSubjectKeyID), e.Id.Equal(oidAuthorityKeyID):
			b.WriteString(" " + hexOf(e.Value[:len(e.Value)-20])) // all but the hash
		case !e.Id.Equal(oidLegacy) && !e.Id.Equal(oidDICE):
			b.WriteString(" " + hexOf(e.Value))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// TestKeyIdentifiers holds Gramine's key identifiers against ours for the same key.
func TestKeyIdentifiers(t *testing.T) {
	for _, file := range []string{"good_v1.0.der", "good_v1.9.der"} {
		c := parseDER(t, readFile(t, "gramine/"+file))
		ours, err := commonExtensions(c.RawSubjectPublicKeyInfo)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range ours {
			if !e.Id.Equal(c.Extensions[i].Id) || !bytes.Equal(e.Value, c.Extensions[i].Value) {
				t.Errorf("%s: extension %d is %v %x, Gramine writes %v %x", file, i, e.Id, e.Value, c.Extensions[i].Id, c.Extensions[i].Value)
			}
		}
	}
}

func TestGramineOptions(t *testing.T) {
	for release, want := range map[string]struct {
		key   KeyType
		forms Form
		null  bool
	}{
		"1.0": {RSA3072, Legacy, false}, "1.3.1": {RSA3072, Legacy, false}, "1.4": {ECDSAP384, Legacy, true},
		"1.7": {ECDSAP384, Legacy, false}, "1.8": {ECDSAP384, Legacy | DICE, false}, "1.9": {ECDSAP384, Legacy | DICE, false},
	} {
		got, err := GramineOptions(release)
		if err != nil || got.KeyType != want.key || got.Forms != want.forms || got.NullParameters != want.null {
			t.Errorf("%s: %+v, %v; want %+v", release, got, err, want)
		}
	}
	for _, release := range []string{"", "0.9", "1.10", "v1.9"} {
		if _, err := GramineOptions(release); err == nil || err.Error() != "find Gramine release: found \""+release+"\", want 1.0 to 1.9" {
			t.Errorf("%q: error %v", release, err)
		}
	}
}

func TestNewCertificateOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts CertificateOptions
		key  KeyType
		form Form
	}{
		{"zero is Gramine 1.9", CertificateOptions{}, ECDSAP384, DICE},
		{"legacy", CertificateOptions{Forms: Legacy, KeyType: ECDSAP256}, ECDSAP256, Legacy},
		{"DICE alone", CertificateOptions{Forms: DICE, KeyType: ECDSAP256}, ECDSAP256, DICE},
		{"padded", CertificateOptions{PaddedCBOR: true}, ECDSAP384, DICE},
		{"NULL parameters", CertificateOptions{NullParameters: true}, ECDSAP384, DICE},
	} {
		cert, err := NewCertificate(t.Context(), stubQuoter{}, tt.opts)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		e, err := ParseCertificate(cert.Leaf)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if e.KeyType != tt.key || e.Form != tt.form {
			t.Errorf("%s: %v, %v; want %v, %v", tt.name, e.KeyType, e.Form, tt.key, tt.form)
		}
	}
}

// TestPaddedSizes checks the sizes that libcbor 0.8 made Gramine's library write.
func TestPaddedSizes(t *testing.T) {
	cert, err := NewCertificate(t.Context(), stubQuoter{}, CertificateOptions{PaddedCBOR: true})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(cert.Leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidDICE) })
	value := cert.Leaf.Extensions[i].Value
	_, claims, err := splitEvidence(value)
	if err != nil {
		t.Fatal(err)
	}
	entry, _, err := readClaims(claims)
	if err != nil {
		t.Fatal(err)
	}
	if len(entry) != 64 || len(claims) != 128 || len(value) != 8192 {
		t.Errorf("sizes %d, %d, %d; want 64, 128, 8192", len(entry), len(claims), len(value))
	}
}

func TestValidityIsAParameter(t *testing.T) {
	from, to := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2051, 1, 1, 0, 0, 0, 0, time.UTC)
	cert, err := NewCertificate(t.Context(), stubQuoter{}, CertificateOptions{KeyType: ECDSAP256, NotBefore: from, NotAfter: to})
	if err != nil {
		t.Fatal(err)
	}
	if !cert.Leaf.NotBefore.Equal(from) || !cert.Leaf.NotAfter.Equal(to) {
		t.Errorf("validity %v to %v", cert.Leaf.NotBefore, cert.Leaf.NotAfter)
	}
	if _, ok := cert.PrivateKey.(*ecdsa.PrivateKey); !ok || cert.Leaf.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		t.Errorf("key %T, algorithm %v", cert.PrivateKey, cert.Leaf.SignatureAlgorithm)
	}
}

func TestNewCertificateFails(t *testing.T) {
	broken := errors.New("no device")
	for _, tt := range []struct {
		name   string
		quoter Quoter
		opts   CertificateOptions
		text   string
	}{
		{"no quote", stubQuoter{err: broken}, CertificateOptions{KeyType: ECDSAP256}, "make RA-TLS certificate: quote key: no device"},
		{"no DICE quote", stubQuoter{err: broken}, CertificateOptions{KeyType: ECDSAP256, Forms: DICE}, "make RA-TLS certificate: quote claims: no device"},
		{"quote too large", stubQuoter{size: 8192}, CertificateOptions{KeyType: ECDSAP256, Forms: Legacy}, "make RA-TLS certificate: legacy quote extension: found 9212 bytes, want 128 to 8192"},
		{"evidence too large", stubQuoter{size: 8192 - 1020}, CertificateOptions{KeyType: ECDSAP256}, "make RA-TLS certificate: DICE extension: found 8252 bytes, want 128 to 8192"},
		{"unknown key type", stubQuoter{}, CertificateOptions{KeyType: 9}, "make RA-TLS certificate: make key: found key type 9, want RSA-3072, ECDSA P-256 or ECDSA P-384"},
		{"unknown form", stubQuoter{}, CertificateOptions{KeyType: ECDSAP256, Forms: 4}, "make RA-TLS certificate: found evidence form 4, want legacy, DICE or both"},
	} {
		_, err := NewCertificate(t.Context(), tt.quoter, tt.opts)
		if err == nil || err.Error() != tt.text {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.text)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewCertificate(ctx, contextQuoter{}, CertificateOptions{KeyType: ECDSAP256}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// contextQuoter shows that the context arrives.
type contextQuoter struct{}

func (contextQuoter) Quote(ctx context.Context, _ [64]byte) ([]byte, error) { return nil, ctx.Err() }
