package tlsmaterials

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"
)

// Description is what people and scripts want to know of a certificate. Its JSON is part of ccctl's output.
type Description struct {
	Subject      string    `json:"subject"`
	Issuer       string    `json:"issuer"`
	Names        []string  `json:"names"`
	Usage        []string  `json:"usage"` // "authority", "server", "client", "any", or "other"
	KeyAlgorithm string    `json:"key_algorithm"`
	Serial       string    `json:"serial"` // hexadecimal
	NotBefore    time.Time `json:"not_before"`
	NotAfter     time.Time `json:"not_after"`
	SHA256       string    `json:"sha256"`     // of the certificate, hexadecimal
	KeySHA256    string    `json:"key_sha256"` // of the SubjectPublicKeyInfo, as PrivateKey.Fingerprint
}

// Describe sums up a certificate.
func Describe(c *x509.Certificate) Description {
	key := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return Description{
		Subject:      c.Subject.String(),
		Issuer:       c.Issuer.String(),
		Names:        append([]string{}, CertifiedNames(c)...),
		Usage:        usages(c),
		KeyAlgorithm: keyAlgorithmName(c.PublicKey),
		Serial:       fmt.Sprintf("%x", c.SerialNumber),
		NotBefore:    c.NotBefore.UTC(),
		NotAfter:     c.NotAfter.UTC(),
		SHA256:       CertificateFingerprint(c),
		KeySHA256:    hex.EncodeToString(key[:]),
	}
}

// CertificateFingerprint is SHA-256 of the certificate in DER, 64 hexadecimal digits.
func CertificateFingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func usages(c *x509.Certificate) []string {
	list := []string{}
	if c.IsCA {
		list = append(list, "authority")
	}
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			list = append(list, Server.String())
		case x509.ExtKeyUsageClientAuth:
			list = append(list, Client.String())
		case x509.ExtKeyUsageAny:
			list = append(list, "any")
		default:
			list = append(list, "other")
		}
	}
	return list
}

// keyAlgorithmName extends the names of [KeyAlgorithm] to keys that others have made.
func keyAlgorithmName(key any) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d", key.Curve.Params().BitSize)
	default:
		return fmt.Sprintf("%T", key)
	}
}

// KeyAlgorithmOf tells how a certificate's key was made, in the names of [KeyAlgorithm] where it has one.
func KeyAlgorithmOf(c *x509.Certificate) string { return keyAlgorithmName(c.PublicKey) }
