package sgxsim

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// release is how one release of Gramine, or rather the mbedTLS in it, behaves as a client.
type release struct {
	name   string
	maxTLS uint16
	curves []tls.CurveID // as far as crypto/tls has them
	// hexKey: the protected files key arrives as 32 hex digits and a NUL, else as 16 raw bytes.
	hexKey bool
	// ipNames: an iPAddress name in the server's certificate matches a host given as an address.
	ipNames bool
	// fatalTickets: a TLS 1.3 session ticket is taken for a read error (mbedTLS 3.6.0).
	fatalTickets bool
	certificate  ratls.CertificateOptions
}

// Releases lists the releases of Gramine that an [Enclave] can play, oldest first.
func Releases() []string {
	return []string{"1.0", "1.1", "1.2", "1.3", "1.3.1", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9"}
}

func findRelease(name string) (release, error) {
	i := slices.Index(Releases(), name)
	if i < 0 {
		return release{}, fmt.Errorf("find Gramine release: found %q, want one of %s", name, strings.Join(Releases(), ", "))
	}
	atLeast := func(other string) bool { return i >= slices.Index(Releases(), other) }
	r := release{
		name:         name,
		maxTLS:       tls.VersionTLS12,
		curves:       []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		hexKey:       !atLeast("1.3"),
		ipNames:      atLeast("1.8"),
		fatalTickets: name == "1.8",
	}
	if atLeast("1.8") {
		r.maxTLS = tls.VersionTLS13
	}
	var err error
	r.certificate, err = ratls.GramineOptions(name)
	return r, err
}

// key turns a received secret into the 16 bytes that become the protected files key.
func (r *release) key(secret []byte) (key [16]byte, err error) {
	if !r.hexKey {
		if len(secret) != len(key) {
			return key, fmt.Errorf("received a secret of %d bytes, Gramine %s wants 16 raw bytes", len(secret), r.name)
		}
		return [16]byte(secret), nil
	}
	const want = "wants 32 hex digits and a NUL"
	if len(secret) != 33 || secret[32] != 0 {
		return key, fmt.Errorf("received a secret of %d bytes, Gramine %s %s", len(secret), r.name, want)
	}
	if _, err := hex.Decode(key[:], secret[:32]); err != nil {
		// The error of package hex would show a byte of the secret.
		return key, fmt.Errorf("received a secret that is not hex, Gramine %s %s", r.name, want)
	}
	return key, nil
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// verifyServer checks the server's certificate as mbedTLS does: chain to a CA in the file, dates, name.
func (r *release) verifyServer(certs, cas []*x509.Certificate, host string, now time.Time) error {
	leaf := certs[0]
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range cas {
		// mbedTLS takes a CA's certificate for an anchor, or a self-signed one that is the server's own; not a leaf
		// whose issuer is absent, which crypto/x509 would trust.
		if string(c.RawIssuer) == string(c.RawSubject) || c.IsCA {
			roots.AddCert(c)
		}
	}
	for _, c := range certs[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return err
	}
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("server's certificate has an RSA key of %d bits, want at least 2048", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
	default:
		return fmt.Errorf("server's certificate has a key of type %T, which mbedTLS does not know", key)
	}
	if !r.named(leaf, host) {
		return fmt.Errorf("server's certificate is for %s, not for %q", names(leaf), host)
	}
	return nil
}

// named matches a host against a certificate. The common name counts only when there are no alternative names at all.
func (r *release) named(c *x509.Certificate, host string) bool {
	hasAltNames := slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
	if !hasAltNames {
		return matchName(c.Subject.CommonName, host)
	}
	for _, name := range c.DNSNames {
		if matchName(name, host) {
			return true
		}
	}
	ip := net.ParseIP(host)
	return r.ipNames && ip != nil && slices.ContainsFunc(c.IPAddresses, ip.Equal)
}

// matchName compares in any letter case; a leading "*." stands for one label.
func matchName(pattern, host string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		_, parent, dot := strings.Cut(host, ".")
		return dot && strings.EqualFold(rest, parent)
	}
	return strings.EqualFold(pattern, host)
}

func names(c *x509.Certificate) string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return fmt.Sprintf("%q", c.Subject.CommonName)
	}
	return fmt.Sprintf("%q", all)
}

// ticketTrap is a client session cache that keeps nothing and notices when the server sends a ticket.
type ticketTrap struct{ sprung bool }

func (t *ticketTrap) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (t *ticketTrap) Put(string, *tls.ClientSessionState)        { t.sprung = true }

var errTicket = errors.New("received new session ticket")
