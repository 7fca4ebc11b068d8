package ratls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Limits of an extension's value, in bytes; Gramine's are the same (extract_standard_quote_and_verify_claims and
// find_oid_in_cert_extensions in ra_tls_verify_common.c).
const (
	MinEvidence = 128
	MaxEvidence = 8192
)

// Form is one of the two ways to put a quote into a certificate.
type Form uint8

// Forms, to be combined in [CertificateOptions].
const (
	Legacy Form = 1 << iota
	DICE
)

// String names the form.
func (f Form) String() string {
	switch f {
	case Legacy:
		return "legacy quote"
	case DICE:
		return "DICE"
	case Legacy | DICE:
		return "legacy quote and DICE"
	default:
		return fmt.Sprintf("form %d", uint8(f))
	}
}

// KeyType is the kind of a certificate's key.
type KeyType uint8

// Key types that are allowed.
const (
	ECDSAP384 KeyType = iota + 1 // Gramine 1.4 and later
	ECDSAP256                    // accepted by Gramine 1.8 and later
	RSA3072                      // Gramine 1.0 to 1.3.1; exponent 65537
)

// String names the key type.
func (t KeyType) String() string {
	switch t {
	case ECDSAP384:
		return "ECDSA P-384"
	case ECDSAP256:
		return "ECDSA P-256"
	case RSA3072:
		return "RSA-3072"
	default:
		return fmt.Sprintf("key type %d", uint8(t))
	}
}

// Evidence is what a certificate claims, bound to its key but not yet verified: the quote could be anyone's invention.
type Evidence struct {
	Form    Form
	Quote   *quote.Quote
	KeyType KeyType
	// SPKI is the SHA-256 of the certificate's SubjectPublicKeyInfo. It is the peer's only name: all Gramine
	// certificates have the same subject, issuer and serial number.
	SPKI [32]byte
	// Claims are the names of DICE claims beside the public key's hash. They are signed, and ignored.
	Claims []string
}

// Client guesses which releases of Gramine write such a certificate. It is a hint for error messages: it
// tells, for example, whether the enclave expects its key as raw bytes or as hex digits.
func (e *Evidence) Client() string {
	switch {
	case e.Form == DICE:
		return "Gramine 1.8 or later"
	case e.KeyType == RSA3072:
		return "Gramine 1.0 to 1.3.1"
	case e.KeyType == ECDSAP384:
		return "Gramine 1.4 to 1.7"
	default:
		return "not Gramine"
	}
}

// ParseCertificate reads the evidence from a certificate and checks that it binds the certificate's key. The error is an
// *Error. It does not say that the evidence is genuine: that is for [Verifier.Verify].
func ParseCertificate(c *x509.Certificate) (*Evidence, error) {
	e, err := parseCertificate(c)
	if err != nil {
		return nil, fmt.Errorf("read RA-TLS certificate: %w", err)
	}
	return e, nil
}

func parseCertificate(c *x509.Certificate) (*Evidence, error) {
	if c == nil {
		return nil, fail(NoCertificate, 0, "no certificate")
	}
	// RFC 5280, section 4.2: a critical extension that is not understood refuses the certificate. Gramine's verifier
	// refuses its own extensions too when they are critical, and no client writes them so.
	if ids := c.UnhandledCriticalExtensions; len(ids) > 0 {
		return nil, fail(BadCertificate, 0, "found critical extension %v, want none but X.509's own", ids[0])
	}
	keyType, err := keyTypeOf(c.PublicKey)
	if err != nil {
		return nil, &Error{Kind: BadKey, Err: err}
	}
	e := &Evidence{KeyType: keyType, SPKI: sha256.Sum256(c.RawSubjectPublicKeyInfo)}
	// A repeated extension has been refused by crypto/x509.
	var legacy, dice []byte
	for _, ext := range c.Extensions {
		switch {
		case ext.Id.Equal(oidLegacy):
			e.Form |= Legacy
			legacy = ext.Value
		case ext.Id.Equal(oidDICE):
			e.Form |= DICE
			dice = ext.Value
		}
	}
	switch {
	case e.Form&DICE != 0:
		e.Form = DICE
		if err := checkSize(DICE, dice); err != nil {
			return nil, err
		}
		e.Quote, e.Claims, err = parseDICE(dice, c.RawSubjectPublicKeyInfo)
	case e.Form == Legacy:
		if err := checkSize(Legacy, legacy); err != nil {
			return nil, err
		}
		e.Quote, err = parseLegacy(legacy, c.RawSubjectPublicKeyInfo)
	default:
		return nil, fail(NoEvidence, 0, "found no attestation evidence (extension %v or %v): not the certificate of an RA-TLS client", oidDICE, oidLegacy)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func checkSize(form Form, value []byte) error {
	if n := len(value); n < MinEvidence || n > MaxEvidence {
		return fail(BadEvidence, form, "found %d bytes, want %d to %d", n, MinEvidence, MaxEvidence)
	}
	return nil
}

func keyTypeOf(key any) (KeyType, error) {
	const want = "want RSA-3072 with exponent 65537, ECDSA P-256 or ECDSA P-384"
	switch key := key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n != 3072 {
			return 0, fmt.Errorf("found an RSA key of %d bits, %s", n, want)
		}
		if key.E != 65537 {
			return 0, fmt.Errorf("found an RSA key with exponent %d, %s", key.E, want)
		}
		return RSA3072, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P384():
			return ECDSAP384, nil
		case elliptic.P256():
			return ECDSAP256, nil
		}
		return 0, fmt.Errorf("found an ECDSA key on %s, %s", key.Curve.Params().Name, want)
	case nil:
		return 0, errors.New("found a key of unknown kind, " + want)
	default:
		return 0, fmt.Errorf("found a key of type %T, %s", key, want)
	}
}
