package ratls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// Quoter makes quotes: the attestation device of an enclave, or a simulated one.
type Quoter interface {
	// Quote returns a quote of the calling enclave with the given report data.
	Quote(ctx context.Context, reportData [64]byte) ([]byte, error)
}

// CertificateOptions say what kind of certificate to make. The zero value is Gramine 1.9's.
type CertificateOptions struct {
	KeyType KeyType // 0: ECDSA P-384
	Forms   Form    // 0: Legacy | DICE
	// NotBefore and NotAfter bound the validity; zero times mean Gramine's, 2001-01-01 to 2030-12-31.
	NotBefore, NotAfter time.Time
	// NullParameters writes a NULL after the ECDSA signature algorithm's OID, against RFC 5758 and as mbedTLS 3.3
	// and 3.4 (Gramine 1.4 and 1.5) do.
	NullParameters bool
	// PaddedCBOR leaves rubbish after each CBOR item, as libcbor before 0.10 makes its callers do.
	PaddedCBOR bool
}

// GramineOptions returns the options that imitate a release of Gramine, given as "1.0" to "1.9".
func GramineOptions(release string) (CertificateOptions, error) {
	switch release {
	case "1.0", "1.1", "1.2", "1.3", "1.3.1":
		return CertificateOptions{KeyType: RSA3072, Forms: Legacy}, nil
	case "1.4", "1.5":
		return CertificateOptions{KeyType: ECDSAP384, Forms: Legacy, NullParameters: true}, nil
	case "1.6", "1.7":
		return CertificateOptions{KeyType: ECDSAP384, Forms: Legacy}, nil
	case "1.8", "1.9":
		return CertificateOptions{KeyType: ECDSAP384, Forms: Legacy | DICE}, nil
	default:
		return CertificateOptions{}, fmt.Errorf("find Gramine release: found %q, want 1.0 to 1.9", release)
	}
}

// NewCertificate makes a key and a self-signed certificate that proves which enclave holds it. Every form costs
// one quote.
func NewCertificate(ctx context.Context, q Quoter, opts CertificateOptions) (tls.Certificate, error) {
	cert, err := newCertificate(ctx, q, opts)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make RA-TLS certificate: %w", err)
	}
	return cert, nil
}

func newCertificate(ctx context.Context, q Quoter, opts CertificateOptions) (tls.Certificate, error) {
	if opts.Forms == 0 {
		opts.Forms = Legacy | DICE
	}
	if opts.NotBefore.IsZero() {
		opts.NotBefore = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if opts.NotAfter.IsZero() {
		opts.NotAfter = time.Date(2030, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	key, err := newKey(opts.KeyType)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("encode public key: %w", err)
	}
	evidence, err := quoteKey(ctx, q, spki, opts)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := signCertificate(key, spki, evidence, opts)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read back certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func newKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case 0, ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	default:
		return nil, fmt.Errorf("found %v, want RSA-3072, ECDSA P-256 or ECDSA P-384", t)
	}
}

// quoteKey obtains the quotes and wraps them into extensions, in Gramine's order.
func quoteKey(ctx context.Context, q Quoter, spki []byte, opts CertificateOptions) ([]pkix.Extension, error) {
	if opts.Forms&^(Legacy|DICE) != 0 {
		return nil, fmt.Errorf("found evidence %v, want legacy, DICE or both", opts.Forms)
	}
	var all []pkix.Extension
	if opts.Forms&Legacy != 0 {
		raw, err := q.Quote(ctx, legacyReportData(spki))
		if err != nil {
			return nil, fmt.Errorf("quote key: %w", err)
		}
		if err := checkSize(Legacy, raw); err != nil {
			return nil, err
		}
		all = append(all, pkix.Extension{Id: oidLegacy, Value: raw})
	}
	if opts.Forms&DICE != 0 {
		claims, err := encodeClaims(spki, opts.PaddedCBOR)
		if err != nil {
			return nil, err
		}
		raw, err := q.Quote(ctx, diceReportData(claims))
		if err != nil {
			return nil, fmt.Errorf("quote claims: %w", err)
		}
		value, err := encodeEvidence(raw, claims, opts.PaddedCBOR)
		if err != nil {
			return nil, err
		}
		if err := checkSize(DICE, value); err != nil {
			return nil, err
		}
		all = append(all, pkix.Extension{Id: oidDICE, Value: value})
	}
	return all, nil
}
