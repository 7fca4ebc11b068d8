package tlsmaterials

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Problem classifies a finding.
type Problem string

// Problems, the gravest first.
const (
	Unparseable Problem = "unparseable" // not PEM, not a certificate, not a key, not an ssl.cfg
	Mismatch    Problem = "mismatch"    // parts that do not belong together
	Missing     Problem = "missing"
	Expired     Problem = "expired"
	NotYetValid Problem = "not yet valid"
	Unusable    Problem = "unusable" // peers refuse it: no name, wrong usage, weak key
	Doubtful    Problem = "doubtful" // works today, and should be put right
)

// Finding is something wrong with one file of a set.
type Finding struct {
	File    string  `json:"file"`
	Problem Problem `json:"problem"`
	Detail  string  `json:"detail"`
}

// String is one line for people.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.File, f.Problem, f.Detail) }

// Check finds what is wrong with the parts that are there, at a given time: keys that do not belong to their
// certificates, certificates that the authority did not issue, that are out of their time, or that peers refuse.
func (m *Materials) Check(at time.Time) []Finding {
	k := &checker{materials: m, at: at}
	if ca := m.Authority.Certificate; ca != nil {
		k.authority(ca)
	}
	k.pair(AuthorityKeyFile, &m.Authority)
	for i := range m.Leaves {
		k.pair(m.Leaves[i].KeyFile, &m.Leaves[i].KeyPair)
		k.leaf(m.Leaves[i])
	}
	return k.findings
}

// CheckPeriod looks at the validity of one certificate, which the findings call by its file's name.
func CheckPeriod(file string, c *x509.Certificate, at time.Time) []Finding {
	k := &checker{at: at}
	k.period(file, c)
	return k.findings
}

type checker struct {
	materials *Materials
	at        time.Time
	serials   [][]byte
	findings  []Finding
}

func (k *checker) add(file string, p Problem, format string, a ...any) {
	k.findings = append(k.findings, Finding{file, p, fmt.Sprintf(format, a...)})
}

func (k *checker) authority(ca *x509.Certificate) {
	k.period(AuthorityCertificateFile, ca)
	k.strength(AuthorityCertificateFile, ca)
	switch {
	case !ca.IsCA:
		k.add(AuthorityCertificateFile, Unusable, "the certificate is not an authority's (no basic constraint CA): clients accept it only "+
			"for the very server that presents it")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		k.add(AuthorityCertificateFile, Unusable, "its key usage does not allow it to sign certificates")
	}
}

func (k *checker) pair(keyFile string, p *KeyPair) {
	if p.Certificate != nil && !p.Key.IsZero() && !p.Key.Matches(p.Certificate) {
		k.add(keyFile, Mismatch, "the key does not belong to the certificate beside it")
	}
}

func (k *checker) leaf(l Leaf) {
	file, c, usage := l.CertificateFile, l.Certificate, l.Usage.extKeyUsage()
	if c == nil {
		return
	}
	k.period(file, c)
	k.strength(file, c)
	if len(c.DNSNames)+len(c.IPAddresses) == 0 {
		k.add(file, Unusable, "the certificate has no subject alternative name: gRPC, Go and browsers do not look at its common name, %q",
			c.Subject.CommonName)
	}
	switch {
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0:
		k.add(file, Doubtful, "the certificate names no usage, so a client's passes as a server's and the other way round")
	case !slices.Contains(c.ExtKeyUsage, usage) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny):
		k.add(file, Unusable, "its extended key usage does not allow %s authentication", l.Usage)
	}
	if ca := k.materials.Authority.Certificate; ca != nil {
		k.issuance(file, c, ca)
	}
	serial := c.SerialNumber.Bytes()
	if slices.ContainsFunc(k.serials, func(s []byte) bool { return bytes.Equal(s, serial) }) {
		k.add(file, Doubtful, "its serial number, %x, is also another certificate's of this authority", serial)
	}
	k.serials = append(k.serials, serial)
}

func (k *checker) issuance(file string, c, ca *x509.Certificate) {
	if !signedBy(c, ca) {
		if anySigned(k.materials.Trusted, c) {
			return // issued by an authority that is on its way out and still trusted
		}
		k.add(file, Mismatch, "the certificate was not issued by %s", AuthorityCertificateFile)
		return
	}
	if !bytes.Equal(c.RawIssuer, ca.RawSubject) {
		k.add(file, Mismatch, "its issuer is %q, the authority's name is %q", c.Issuer, ca.Subject)
	}
	if c.NotAfter.After(ca.NotAfter) {
		k.add(file, Doubtful, "it outlives its authority, which ends on %s", date(ca.NotAfter))
	}
}

func (k *checker) period(file string, c *x509.Certificate) {
	switch {
	case k.at.After(c.NotAfter):
		k.add(file, Expired, "it ended on %s", date(c.NotAfter))
	case k.at.Before(c.NotBefore):
		k.add(file, NotYetValid, "it begins on %s", date(c.NotBefore))
	}
}

// strength refuses what Gramine's clients or gRPC refuse: RSA under 2048 bits, curves beyond NIST's, Ed25519, SHA-1.
func (k *checker) strength(file string, c *x509.Certificate) {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			k.add(file, Unusable, "its RSA key has %d bits, fewer than 2048", bits)
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			k.add(file, Unusable, "its ECDSA key is on curve %s, smaller than P-256", key.Curve.Params().Name)
		}
	default:
		k.add(file, Unusable, "its key is of a kind (%s) that Gramine's clients do not know", c.PublicKeyAlgorithm)
	}
	switch c.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1:
		k.add(file, Unusable, "it is signed with %s", c.SignatureAlgorithm)
	default:
	}
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
