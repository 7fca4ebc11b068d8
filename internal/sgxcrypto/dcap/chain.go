package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
)

// role is a certificate's place in Intel's hierarchy.
type role uint8

const (
	roleRoot role = iota
	rolePCKCA
	rolePCK
	roleTCBSigner
)

// commonNames are what a role's certificates are called under Intel's root, without the leading "Intel ". Under
// another root the name must contain one of them, so that a test root can name its certificates unmistakably.
func (r role) commonNames() []string {
	switch r {
	case roleRoot:
		return []string{"SGX Root CA"}
	case rolePCKCA:
		return []string{"SGX PCK Platform CA", "SGX PCK Processor CA"}
	case rolePCK:
		return []string{"SGX PCK Certificate"}
	case roleTCBSigner:
		return []string{"SGX TCB Signing"}
	default:
		return nil
	}
}

func (r role) String() string {
	switch r {
	case roleRoot:
		return "root CA"
	case rolePCKCA:
		return "PCK CA"
	case rolePCK:
		return "PCK certificate"
	case roleTCBSigner:
		return "TCB signing certificate"
	default:
		return "certificate"
	}
}

func (r role) isCA() bool { return r == roleRoot || r == rolePCKCA }

// named reports whether a common name is this role's.
func (r role) named(cn string, intel bool) bool {
	return slices.ContainsFunc(r.commonNames(), func(name string) bool {
		return cn == "Intel "+name || !intel && strings.Contains(cn, name)
	})
}

// chainSpec says which chain is expected where.
type chainSpec struct {
	stage Stage
	what  string // "PCK chain"
	roles []role // leaf first, root last
}

// chain is a certificate chain whose links have been verified up to a trusted root. Its dates have not.
type chain struct {
	spec  chainSpec
	certs []*x509.Certificate // leaf first, root last
}

func (c *chain) leaf() *x509.Certificate { return c.certs[0] }
func (c *chain) root() *x509.Certificate { return c.certs[len(c.certs)-1] }

const (
	pemBegin     = "-----BEGIN CERTIFICATE-----"
	pemBeginMark = "-----BEGIN"
	// asciiSpace is the white space that may stand around PEM and hex text.
	asciiSpace = " \t\r\n"
	// maxChainSize bounds PEM text, in bytes. Real chains have under 4 KiB.
	maxChainSize = 64 << 10
)

// splitPEM reads PEM text that holds certificates and nothing else, and returns their DER. White space between them and
// one NUL at the end, which Intel's QE writes, are allowed.
func splitPEM(text []byte, stage Stage, what string) ([][]byte, error) {
	formatError := func(got, want string) *Error {
		return &Error{Stage: stage, Reason: ReasonFormat, What: what, Got: got, Want: want}
	}
	if len(text) > maxChainSize {
		return nil, formatError(fmt.Sprintf("%d bytes", len(text)), fmt.Sprintf("at most %d", maxChainSize))
	}
	rest := bytes.Trim(bytes.TrimSuffix(text, []byte{0}), asciiSpace)
	if len(rest) == 0 {
		return nil, formatError("no certificate", "PEM certificates")
	}
	var ders [][]byte
	for len(rest) > 0 {
		if !bytes.HasPrefix(rest, []byte(pemBegin)) {
			return nil, formatError(fmt.Sprintf("%q before or between the certificates", head(rest)), "PEM certificates and nothing else")
		}
		block, after := pem.Decode(rest)
		// pem.Decode skips a damaged block and goes on to the next: the block must be the one at the start.
		if block == nil || bytes.Count(rest[:len(rest)-len(after)], []byte(pemBeginMark)) != 1 || len(block.Headers) > 0 {
			return nil, formatError(fmt.Sprintf("a damaged PEM block as certificate %d", len(ders)+1), "PEM certificates")
		}
		ders = append(ders, block.Bytes)
		rest = bytes.TrimLeft(after, asciiSpace)
	}
	return ders, nil
}

// parseCertificates parses what splitPEM returned.
func parseCertificates(ders [][]byte, stage Stage, what string) ([]*x509.Certificate, error) {
	certs := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			reason := ReasonFormat
			if badKey(der) {
				reason = ReasonKey
			}
			return nil, &Error{Stage: stage, Reason: reason, What: fmt.Sprintf("%s: certificate %d", what, i+1), Err: err}
		}
		certs[i] = cert
	}
	return certs, nil
}

// readCertificates reads certificates in PEM that belong to no chain yet.
func readCertificates(text []byte, what string) ([]*x509.Certificate, error) {
	ders, err := splitPEM(text, StagePCKChain, what)
	if err != nil {
		return nil, err
	}
	return parseCertificates(ders, StagePCKChain, what)
}

// badKey reports whether a certificate that did not parse is well formed but for its public key.
func badKey(der []byte) bool {
	var cert struct {
		TBS struct {
			Version  int `asn1:"optional,explicit,default:0,tag:0"`
			Serial   asn1.RawValue
			SigAlg   asn1.RawValue
			Issuer   asn1.RawValue
			Validity asn1.RawValue
			Subject  asn1.RawValue
			Key      asn1.RawValue
		}
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		return false
	}
	_, err := x509.ParsePKIXPublicKey(cert.TBS.Key.FullBytes)
	return err != nil
}

func head(b []byte) []byte { return b[:min(len(b), 16)] }

// verifyChain is verifyCertificates of PEM text.
func (r *run) verifyChain(text []byte, spec chainSpec) (*chain, error) {
	ders, err := splitPEM(text, spec.stage, spec.what)
	if err != nil {
		return nil, err
	}
	return r.verifyCertificates(ders, spec)
}

// verifyCertificates parses a chain and verifies everything about it that does not depend on the time: number, order,
// names, profiles, links, the root. The order of checks is that of PckCertVerifier.cpp of Intel's library.
func (r *run) verifyCertificates(ders [][]byte, spec chainSpec) (*chain, error) {
	certs, err := parseCertificates(ders, spec.stage, spec.what)
	if err != nil {
		return nil, err
	}
	if len(certs) != len(spec.roles) {
		return nil, &Error{
			Stage: spec.stage, Reason: ReasonCount, What: spec.what,
			Got: fmt.Sprintf("%d certificates", len(certs)), Want: fmt.Sprintf("%d: %s", len(spec.roles), describeRoles(spec.roles)),
		}
	}
	c := &chain{spec: spec, certs: certs}
	root := c.root()
	for i, cert := range slices.Backward(certs) {
		if err := c.checkName(cert, spec.roles[i], isIntelKey(root)); err != nil {
			return nil, err
		}
	}
	for i, cert := range slices.Backward(certs) {
		if e := checkProfile(cert, spec.roles[i], spec.what+": "+spec.roles[i].String()); e != nil {
			e.Stage = spec.stage
			return nil, e
		}
	}
	for i, cert := range slices.Backward(certs) {
		if err := r.checkLink(c, cert, certs[min(i+1, len(certs)-1)], spec.roles[i]); err != nil {
			return nil, err
		}
	}
	if !r.anchors.trusts(root) {
		return nil, &Error{
			Stage: spec.stage, Reason: ReasonUntrustedRoot, What: spec.what,
			Got: fmt.Sprintf("root %s, key %s", root.Subject.CommonName, shortKey(root)), Want: r.anchors.describe(),
			Remedy: "use evidence under the trusted root; name another root only for a simulated platform",
		}
	}
	return c, nil
}

func describeRoles(roles []role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = r.String()
	}
	return strings.Join(names, ", ")
}

// checkName finds a certificate that is not the one its place asks for.
func (c *chain) checkName(cert *x509.Certificate, want role, intel bool) error {
	e := &Error{
		Stage: c.spec.stage, Reason: ReasonSubject, What: fmt.Sprintf("%s: %s", c.spec.what, want),
		Got: fmt.Sprintf("subject %q", cert.Subject.CommonName), Want: "Intel " + strings.Join(want.commonNames(), " or Intel "),
	}
	if want == roleRoot && !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		e.Reason, e.Got, e.Want = ReasonMissing, fmt.Sprintf("%q issued by %q", cert.Subject.CommonName, cert.Issuer.CommonName), "a self-issued root CA as the last certificate"
		return e
	}
	if want.named(cert.Subject.CommonName, intel) {
		return nil
	}
	// A certificate of another role here means that this role's is missing or that the order is wrong.
	for _, other := range []role{roleRoot, rolePCKCA, rolePCK, roleTCBSigner} {
		if other != want && other.named(cert.Subject.CommonName, intel) {
			e.Reason = ReasonMissing
			e.Remedy = "give the chain leaf first: " + describeRoles(c.spec.roles)
		}
	}
	return e
}

// Object identifiers of the X.509 extensions that every certificate of Intel's hierarchy carries.
var requiredExtensions = []struct {
	name string
	id   asn1.ObjectIdentifier
}{
	{"authority key identifier", asn1.ObjectIdentifier{2, 5, 29, 35}},
	{"CRL distribution points", asn1.ObjectIdentifier{2, 5, 29, 31}},
	{"subject key identifier", asn1.ObjectIdentifier{2, 5, 29, 14}},
	{"key usage", asn1.ObjectIdentifier{2, 5, 29, 15}},
	{"basic constraints", asn1.ObjectIdentifier{2, 5, 29, 19}},
}

// checkProfile holds one certificate against its role: extensions, constraints, key usage, algorithms.
func checkProfile(cert *x509.Certificate, r role, what string) *Error {
	fail := func(reason Reason, got, want string) *Error {
		return &Error{Reason: reason, What: what, Got: got, Want: want}
	}
	for _, need := range requiredExtensions {
		if !slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(need.id) }) {
			return fail(ReasonExtensions, "no "+need.name, "the extension")
		}
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fail(ReasonExtensions, fmt.Sprintf("unknown critical extension %v", cert.UnhandledCriticalExtensions[0]), "known extensions only")
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return fail(ReasonKey, describeKey(cert), "an ECDSA P-256 key")
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fail(ReasonKey, "signature algorithm "+cert.SignatureAlgorithm.String(), x509.ECDSAWithSHA256.String())
	}
	if cert.IsCA != r.isCA() {
		return fail(ReasonConstraints, fmt.Sprintf("basic constraints CA:%t", cert.IsCA), fmt.Sprintf("CA:%t", r.isCA()))
	}
	if r == roleRoot && cert.MaxPathLenZero {
		return fail(ReasonConstraints, "path length 0", "at least 1, for the PCK CA below it")
	}
	usage, name := x509.KeyUsageDigitalSignature, "digital signature"
	if r.isCA() {
		usage, name = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, "certificate and CRL signing"
	}
	if cert.KeyUsage&usage != usage {
		return fail(ReasonConstraints, fmt.Sprintf("key usage bits %#x", int(cert.KeyUsage)), name)
	}
	return nil
}

func describeKey(cert *x509.Certificate) string {
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); ok {
		return "an ECDSA " + key.Curve.Params().Name + " key"
	}
	return "a key of type " + cert.PublicKeyAlgorithm.String()
}

// checkLink verifies that parent issued cert; for the root, that it issued itself.
func (r *run) checkLink(c *chain, cert, parent *x509.Certificate, is role) error {
	e := &Error{Stage: c.spec.stage, What: fmt.Sprintf("%s: %s", c.spec.what, is)}
	if !bytes.Equal(cert.RawIssuer, parent.RawSubject) {
		e.Reason, e.Got, e.Want = ReasonIssuer, fmt.Sprintf("issuer %q", cert.Issuer.CommonName), fmt.Sprintf("%q", parent.Subject.CommonName)
		return e
	}
	if err := r.checkIssued(cert, parent); err != nil {
		e.Reason, e.Got, e.Err = ReasonSignature, fmt.Sprintf("a signature that %q did not make", parent.Subject.CommonName), err
		if is == roleRoot {
			e.Reason = ReasonRoot
		}
		return e
	}
	return nil
}

// checkIssued verifies a certificate's signature. The chains of one verification share certificates; a link that has
// been verified in this run is not verified again.
func (r *run) checkIssued(cert, parent *x509.Certificate) error {
	key := string(cert.Raw) + string(parent.RawSubjectPublicKeyInfo)
	if r.links[key] {
		return nil
	}
	if err := cert.CheckSignatureFrom(parent); err != nil {
		return err
	}
	r.links[key] = true
	return nil
}

// checkDates holds the validity of every certificate against the time, root first. Both bounds are inclusive.
func (c *chain) checkDates(at time.Time) error {
	for i, cert := range slices.Backward(c.certs) {
		what := fmt.Sprintf("%s: %s", c.spec.what, c.spec.roles[i])
		if e := checkWindow(at, cert.NotBefore, cert.NotAfter); e != nil {
			e.Stage, e.What = c.spec.stage, what
			return e
		}
	}
	return nil
}

// checkWindow holds a time against a validity period, both ends inclusive. The caller fills in stage and subject.
func checkWindow(at, notBefore, notAfter time.Time) *Error {
	switch {
	case at.Before(notBefore):
		return &Error{
			Reason: ReasonNotYetValid, Got: "one that is valid from " + stamp(notBefore) + " on", Want: "one that is valid at " + stamp(at),
		}
	case at.After(notAfter):
		return &Error{
			Reason: ReasonExpired, Got: "one that expired on " + stamp(notAfter), Want: "one that is valid at " + stamp(at),
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
