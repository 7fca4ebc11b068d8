package tlsmaterials

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// Backdate is how long before its issue a certificate becomes valid, so that a peer whose clock is a little slow accepts
// it.
const Backdate = 5 * time.Minute

// Lifetimes used where none is given.
const (
	DefaultLifetime          = 365 * 24 * time.Hour
	DefaultAuthorityLifetime = 5 * 365 * 24 * time.Hour
)

// maxNotAfter is the last moment that a certificate writes as UTCTime (RFC 5280, section 4.1.2.5). Every peer reads that
// form; how far beyond it an old one gets is not worth finding out in production.
var maxNotAfter = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)

// KeyPair is a certificate and its private key. The key may be absent: an authority's is often kept elsewhere.
type KeyPair struct {
	Certificate *x509.Certificate
	Key         PrivateKey
}

// CertificatePEM encodes the certificate.
func (p *KeyPair) CertificatePEM() []byte { return EncodeCertificates(p.Certificate) }

// EncodeCertificates writes certificates as PEM, in the order given.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// ParseCertificates reads one or more certificates in PEM; anything else in data is an error.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	certs := make([]*x509.Certificate, 0, len(blocks))
	for i, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("parse certificate: PEM block %d is %q, want \"CERTIFICATE\"", i+1, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: PEM block %d: %w", i+1, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// AuthorityRequest describes a certificate authority to be made.
type AuthorityRequest struct {
	CommonName   string        // empty: a name that contains the key's identifier, so that two authorities never share one
	KeyAlgorithm KeyAlgorithm  // empty: ECDSAP256
	At           time.Time     // the time of issue, required
	Lifetime     time.Duration // zero: DefaultAuthorityLifetime
}

// NewAuthority makes a self-signed authority that may issue leaves only.
func NewAuthority(req AuthorityRequest) (*KeyPair, error) {
	pair, err := newAuthority(req)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	return pair, nil
}

func newAuthority(req AuthorityRequest) (*KeyPair, error) {
	notBefore, notAfter, err := validity(req.At, req.Lifetime, DefaultAuthorityLifetime)
	if err != nil {
		return nil, err
	}
	key, err := GenerateKey(req.KeyAlgorithm)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	name := req.CommonName
	if name == "" {
		name = "Confidential serving CA " + hex.EncodeToString(id[:4])
	}
	if len(name) > maxCommonName {
		return nil, fmt.Errorf("common name %q has %d octets, more than %d", name, len(name), maxCommonName)
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId:          id,
		AuthorityKeyId:        id,
	}
	return sign(template, template, key, key)
}

// Usage says which side of a connection a certificate is for.
type Usage uint8

// The two usages; the zero value is neither.
const (
	Server Usage = iota + 1
	Client
)

// String is "server" or "client".
func (u Usage) String() string {
	switch u {
	case Server:
		return "server"
	case Client:
		return "client"
	default:
		return fmt.Sprintf("usage %d", uint8(u))
	}
}

func (u Usage) extKeyUsage() x509.ExtKeyUsage {
	if u == Client {
		return x509.ExtKeyUsageClientAuth
	}
	return x509.ExtKeyUsageServerAuth
}

// LeafRequest describes a certificate to be issued.
type LeafRequest struct {
	Usage        Usage
	Names        []string      // see ValidateServerName; one name, see ValidateClientName, for a client
	KeyAlgorithm KeyAlgorithm  // empty: ECDSAP256
	At           time.Time     // the time of issue, required
	Lifetime     time.Duration // zero: DefaultLifetime; cut short where the authority ends earlier
}

// Issue makes a key and has the authority p certify it.
func (p *KeyPair) Issue(req LeafRequest) (*KeyPair, error) {
	pair, err := p.issue(req)
	if err != nil {
		return nil, fmt.Errorf("issue %s certificate: %w", req.Usage, err)
	}
	return pair, nil
}

func (p *KeyPair) issue(req LeafRequest) (*KeyPair, error) {
	return p.issueFor(req, GenerateKey)
}

// issueFor certifies the key that generate makes.
func (p *KeyPair) issueFor(req LeafRequest, generate func(KeyAlgorithm) (PrivateKey, error)) (*KeyPair, error) {
	if err := checkLeafNames(req.Usage, req.Names); err != nil {
		return nil, err
	}
	if err := p.CanIssue(req.At); err != nil {
		return nil, err
	}
	notBefore, notAfter, err := validity(req.At, req.Lifetime, DefaultLifetime)
	if err != nil {
		return nil, err
	}
	if notBefore.Before(p.Certificate.NotBefore) {
		notBefore = p.Certificate.NotBefore
	}
	if notAfter.After(p.Certificate.NotAfter) {
		notAfter = p.Certificate.NotAfter
	}
	key, err := generate(req.KeyAlgorithm)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: commonName(req.Names)},
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		// Every cipher suite in use signs; none sends a secret encrypted to the certificate's key.
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{req.Usage.extKeyUsage()},
		BasicConstraintsValid: true,
		SubjectKeyId:          id,
	}
	for _, name := range req.Names {
		addr, err := netip.ParseAddr(name)
		if err == nil {
			template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
		}
		// An IPv4 address is a dNSName as well, for the clients named in the package comment. An IPv6 address has
		// characters that a dNSName must not have, and those clients cannot be given one.
		if err != nil || addr.Is4() {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, p.Certificate, key, p.Key)
}

func checkLeafNames(usage Usage, names []string) error {
	switch usage {
	case Server:
		return ValidateServerNames(names)
	case Client:
		if len(names) != 1 {
			return fmt.Errorf("found %d names, want one: a certificate stands for one client", len(names))
		}
		return ValidateClientName(names[0])
	default:
		return errors.New("a certificate is for a server or a client")
	}
}

// CanIssue finds out why the authority cannot issue certificates at a given time: no key, not an authority, out of time.
func (p *KeyPair) CanIssue(at time.Time) error {
	switch {
	case p.Certificate == nil:
		return errors.New("there is no authority")
	case p.Key.IsZero():
		return errors.New("the authority's private key is not at hand")
	case !p.Key.Matches(p.Certificate):
		return errors.New("the authority's private key does not belong to its certificate")
	case !p.Certificate.IsCA:
		return fmt.Errorf("%s is not a certificate authority", describeSubject(p.Certificate))
	case p.Certificate.KeyUsage != 0 && p.Certificate.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s may not sign certificates (its key usage says so)", describeSubject(p.Certificate))
	case at.After(p.Certificate.NotAfter):
		return fmt.Errorf("the authority ended on %s", p.Certificate.NotAfter.UTC().Format(time.RFC3339))
	case at.Before(p.Certificate.NotBefore):
		return fmt.Errorf("the authority begins on %s, later than now, %s: is the clock right?",
			p.Certificate.NotBefore.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return nil
}

// validity turns a time of issue and a lifetime into the two ends, in whole seconds as certificates have them.
func validity(at time.Time, lifetime, preset time.Duration) (notBefore, notAfter time.Time, err error) {
	if at.IsZero() {
		return notBefore, notAfter, errors.New("no time of issue is given")
	}
	if lifetime == 0 {
		lifetime = preset
	}
	if lifetime < time.Minute {
		return notBefore, notAfter, fmt.Errorf("a lifetime of %s is too short: give at least a minute", lifetime)
	}
	notBefore = at.UTC().Add(-Backdate).Truncate(time.Second)
	notAfter = at.UTC().Add(lifetime).Truncate(time.Second)
	if notAfter.After(maxNotAfter) {
		return notBefore, notAfter, fmt.Errorf("a lifetime of %s ends after 2049, the last year that every peer reads: give less", lifetime)
	}
	return notBefore, notAfter, nil
}

// newSerial draws a serial number of 16 octets: positive, and of equal length for all (RFC 5280, section 4.1.2.2, wants
// at most 20 octets; the CA/Browser Forum at least 64 random bits).
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// keyID is the key identifier of RFC 7093, section 2, method 1: SHA-256 of the public key, cut to 160 bits.
func keyID(key PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &spki); err != nil {
		return nil, fmt.Errorf("decode public key: %w", err)
	}
	sum := sha256.Sum256(spki.PublicKey.RightAlign())
	return sum[:20], nil
}

func sign(template, parent *x509.Certificate, key, parentKey PrivateKey) (*KeyPair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey.Signer())
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back certificate: %w", err)
	}
	return &KeyPair{Certificate: c, Key: key}, nil
}

func describeSubject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	return "the certificate without subject"
}
