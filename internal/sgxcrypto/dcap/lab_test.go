package dcap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// lab makes one piece of evidence, good unless something about it is changed. The order is: change the platform, which
// is used when quote and collateral are first asked for; change those; change the quote's bytes.
type lab struct {
	tb    testing.TB
	p     *sgxsim.Platform
	id    sgxsim.Identity
	at    time.Time
	roots []*x509.Certificate

	q     *quote.Quote
	c     *dcap.Collateral
	bytes []func([]byte) []byte
	// policy, if not nil, is held against the verdict too.
	policy *dcap.Policy
}

// labTime is when the lab's evidence is made and verified: noon, twelve hours after the day's collateral was issued.
var labTime = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func newLab(tb testing.TB, ca string) *lab {
	tb.Helper()
	p, err := sgxsim.New(sgxsim.Options{At: labTime, CA: ca})
	if err != nil {
		tb.Fatal(err)
	}
	l := &lab{tb: tb, p: p, at: labTime, id: sgxsim.Identity{
		MRENCLAVE: [32]byte{1, 2, 3}, MRSIGNER: [32]byte{4, 5, 6}, ISVProdID: 7, ISVSVN: 8,
	}}
	l.trust(p)
	return l
}

func (l *lab) must(err error) {
	l.tb.Helper()
	if err != nil {
		l.tb.Fatal(err)
	}
}

// trust makes the roots of platforms the only trusted ones.
func (l *lab) trust(platforms ...*sgxsim.Platform) {
	l.roots = nil
	for _, p := range platforms {
		l.roots = append(l.roots, l.cert(p.Root))
	}
}

func (l *lab) cert(a *sgxsim.Authority) *x509.Certificate {
	c, err := x509.ParseCertificate(a.DER)
	l.must(err)
	return c
}

func (l *lab) quote() *quote.Quote {
	if l.q == nil {
		var err error
		l.q, err = l.p.NewQuote(l.id, [64]byte{9, 9, 9})
		l.must(err)
	}
	return l.q
}

func (l *lab) collateral() *dcap.Collateral {
	if l.c == nil {
		c, err := l.p.Collateral(labTime)
		l.must(err)
		converted := dcap.Collateral(*c)
		l.c = &converted
	}
	return l.c
}

// edit changes the bytes of the quote after everything else.
func (l *lab) edit(f func([]byte) []byte) { l.bytes = append(l.bytes, f) }

func (l *lab) raw() []byte {
	b, err := l.quote().Marshal()
	l.must(err)
	for _, f := range l.bytes {
		b = f(b)
	}
	return b
}

// verify is what a user of the package does: parse, verify, hold against the policy.
func (l *lab) verify(v *dcap.Verifier) (*dcap.Verdict, error) {
	q, err := quote.Parse(l.raw())
	if err != nil {
		return nil, err
	}
	verdict, err := dcap.VerifyBothWays(l.tb, v, q, l.collateral(), dcap.VerifyOptions{At: l.at, Roots: l.roots})
	if err == nil && l.policy != nil {
		err = l.policy.Check(verdict)
	}
	return verdict, err
}

// code names an outcome: "ok", "stage/reason", "policy/check" of the first violation, or "config".
func code(err error) string {
	var format *quote.Error
	var refusal *dcap.Error
	var config *dcap.ConfigError
	var policy *dcap.PolicyError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &format):
		return "quote_format/" + format.Kind.String()
	case errors.As(err, &policy):
		return "policy/" + policy.Violations[0].Check
	case errors.As(err, &refusal):
		return string(refusal.Stage) + "/" + string(refusal.Reason)
	case errors.As(err, &config):
		return "config"
	default:
		return "unclassified: " + err.Error()
	}
}

// resign signs a changed certificate.
func (l *lab) resign(a, issuer *sgxsim.Authority) { l.must(a.Sign(issuer)) }

func (l *lab) name(cn string) []byte {
	der, err := sgxsim.Name(cn)
	l.must(err)
	return der
}

// extension replaces the SGX extension of the PCK certificate.
func (l *lab) extension(value []byte) {
	l.p.PCK.Certificate.Extension(sgxsim.OIDSGX).Value = value
	l.resign(l.p.PCK, l.p.CA())
}

// entries changes the pairs of the SGX extension.
func (l *lab) entries(change func([]sgxsim.SGXEntry) []sgxsim.SGXEntry) {
	entries, err := l.p.Machine.Extension().Entries()
	l.must(err)
	value, err := sgxsim.MarshalSGXEntries(change(entries))
	l.must(err)
	l.extension(value)
}

// tcbEntries changes the pairs within the TCB pair.
func (l *lab) tcbEntries(change func([]sgxsim.SGXEntry) []sgxsim.SGXEntry) {
	l.entries(func(all []sgxsim.SGXEntry) []sgxsim.SGXEntry {
		all[1] = l.nested(all[1], change)
		return all
	})
}

// nested changes the pairs that an entry's value consists of.
func (l *lab) nested(e sgxsim.SGXEntry, change func([]sgxsim.SGXEntry) []sgxsim.SGXEntry) sgxsim.SGXEntry {
	var pairs []asn1.RawValue
	_, err := asn1.Unmarshal(e.Value.FullBytes, &pairs)
	l.must(err)
	var inner []sgxsim.SGXEntry
	for _, raw := range pairs {
		var pair sgxsim.SGXEntry
		_, err := asn1.Unmarshal(raw.FullBytes, &pair)
		l.must(err)
		inner = append(inner, pair)
	}
	value, err := sgxsim.MarshalSGXEntries(change(inner))
	l.must(err)
	e.Value = asn1.RawValue{FullBytes: value}
	return e
}

func (l *lab) der(v any) asn1.RawValue {
	der, err := asn1.Marshal(v)
	l.must(err)
	return asn1.RawValue{FullBytes: der}
}

// sgxOID is an OID below the SGX extension's.
func sgxOID(arcs ...int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, sgxsim.OIDSGX...), arcs...)
}

// tcbInfo signs a changed TCB info.
func (l *lab) tcbInfo(change func(*sgxsim.TCBInfo)) {
	info := l.p.TCBInfo(labTime, l.p.Standard)
	change(info)
	body, err := info.Sign(l.p.TCBSigner)
	l.must(err)
	l.collateral().TCBInfo = body
}

// qeIdentity signs a changed QE identity.
func (l *lab) qeIdentity(change func(*sgxsim.QEIdentity)) {
	id := l.p.QEIdentity(labTime, l.p.Standard)
	change(id)
	body, err := id.Sign(l.p.TCBSigner)
	l.must(err)
	l.collateral().QEIdentity = body
}

// replace substitutes the first of a text, which must be there.
func (l *lab) replace(text []byte, old, replacement string) []byte {
	l.tb.Helper()
	if !bytes.Contains(text, []byte(old)) {
		l.tb.Fatalf("%q is not in %.300s", old, text)
	}
	return bytes.Replace(text, []byte(old), []byte(replacement), 1)
}

// tcbText signs a TCB info after substitutions in its text.
func (l *lab) tcbText(oldnew ...string) {
	l.tb.Helper()
	object, err := l.p.TCBInfo(labTime, l.p.Standard).Object()
	l.must(err)
	for i := 0; i < len(oldnew); i += 2 {
		object = l.replace(object, oldnew[i], oldnew[i+1])
	}
	body, err := l.p.TCBSigner.SignJSON("tcbInfo", object)
	l.must(err)
	l.collateral().TCBInfo = body
}

// qeText signs a QE identity after substitutions in its text.
func (l *lab) qeText(oldnew ...string) {
	l.tb.Helper()
	object, err := l.p.QEIdentity(labTime, l.p.Standard).Object()
	l.must(err)
	for i := 0; i < len(oldnew); i += 2 {
		object = l.replace(object, oldnew[i], oldnew[i+1])
	}
	body, err := l.p.TCBSigner.SignJSON("enclaveIdentity", object)
	l.must(err)
	l.collateral().QEIdentity = body
}

// pckCRL signs a changed PCK CRL.
func (l *lab) pckCRL(change func(*sgxsim.CRL)) {
	crl, err := l.p.PCKCRL(labTime, l.p.Machine.CA)
	l.must(err)
	change(crl)
	l.collateral().PCKCRL, err = crl.DER(l.p.CA().Key)
	l.must(err)
}

// rootCRL signs a changed root CA CRL.
func (l *lab) rootCRL(change func(*sgxsim.CRL)) {
	crl, err := l.p.RootCRL(labTime)
	l.must(err)
	change(crl)
	l.collateral().RootCACRL, err = crl.DER(l.p.Root.Key)
	l.must(err)
}

// chain sets the quote's certification data.
func (l *lab) chain(parts ...[]byte) { l.quote().CertificationData = bytes.Join(parts, nil) }

// signReport signs quote and QE report after changes to them.
func (l *lab) signReport() {
	l.must(l.p.SignQEReport(l.quote()))
	l.must(l.p.SignQuote(l.quote()))
}

// otherKey makes a key and its SubjectPublicKeyInfo on a curve.
func (l *lab) otherKey(curve elliptic.Curve) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	l.must(err)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	l.must(err)
	return key, spki
}

// reissuedRoot is the platform's root key in another certificate.
func (l *lab) reissuedRoot(change func(*sgxsim.Certificate)) *sgxsim.Authority {
	c := *l.p.Root.Certificate
	change(&c)
	root := &sgxsim.Authority{Certificate: &c, Key: l.p.Root.Key}
	l.resign(root, root)
	return root
}

func pemOf(blockType string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})
}

func crlf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }

func text(b []byte, old, replacement string) []byte {
	return []byte(strings.Replace(string(b), old, replacement, 1))
}

// critical adds an unknown critical extension.
func critical(extensions []pkix.Extension) []pkix.Extension {
	return append(extensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
}
