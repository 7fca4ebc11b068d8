package dcap

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
)

// intelRootKey is the SHA-256 of the SubjectPublicKeyInfo of the Intel SGX Root CA, published with the certificate at
// https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.pem. The key is pinned and
// not the certificate: Intel has reissued the certificate (notAfter 2033, then 2049) with the same key and serial
// number, and both are found in quotes.
var intelRootKey = [sha256.Size]byte{
	0xa0, 0xaf, 0x03, 0x12, 0x89, 0xf5, 0xd5, 0xd4, 0x13, 0x2f, 0x91, 0x86, 0x06, 0x8a, 0x7f, 0xc1,
	0x36, 0x28, 0x63, 0x3b, 0xa2, 0x35, 0x77, 0x74, 0x72, 0xe2, 0x9b, 0x6b, 0x6c, 0x67, 0xa4, 0x9e,
}

// intelRootName is the common name that goes with intelRootKey.
const intelRootName = "Intel SGX Root CA"

// anchors are the roots a verifier trusts. The zero value trusts Intel only. Roots given by the caller are matched as
// whole certificates.
type anchors struct {
	given []*x509.Certificate
}

// newAnchors checks given roots as strictly as a root in a chain: a root that could never end a chain is a mistake in
// the configuration, and better said at once. nil means Intel; an empty list that is not nil trusts nobody.
func newAnchors(roots []*x509.Certificate) (anchors, error) {
	if roots == nil {
		return anchors{}, nil
	}
	if len(roots) == 0 {
		return anchors{}, &ConfigError{"trusted roots: the list is empty; leave it out to trust Intel's root"}
	}
	for i, root := range roots {
		if root == nil {
			return anchors{}, &ConfigError{fmt.Sprintf("trusted root %d: no certificate", i+1)}
		}
		if err := checkGivenRoot(root); err != nil {
			return anchors{}, &ConfigError{fmt.Sprintf("trusted root %d (%s): %v", i+1, root.Subject, err)}
		}
	}
	return anchors{given: roots}, nil
}

func checkGivenRoot(root *x509.Certificate) error {
	if !bytes.Equal(root.RawIssuer, root.RawSubject) {
		return fmt.Errorf("issued by %s and not by itself, want the self-issued root certificate", root.Issuer)
	}
	if e := checkProfile(root, roleRoot, "root CA"); e != nil {
		return e
	}
	if err := root.CheckSignatureFrom(root); err != nil {
		return fmt.Errorf("self-signature: %w", err)
	}
	return nil
}

// trusts reports whether a self-signed root certificate is one of the anchors.
func (a anchors) trusts(root *x509.Certificate) bool {
	if a.given == nil {
		return isIntelKey(root) && root.Subject.CommonName == intelRootName
	}
	for _, r := range a.given {
		if bytes.Equal(r.Raw, root.Raw) {
			return true
		}
	}
	return false
}

// describe names the anchors for an error text.
func (a anchors) describe() string {
	if a.given == nil {
		return "Intel's root key " + hex.EncodeToString(intelRootKey[:8])
	}
	if len(a.given) == 1 {
		return fmt.Sprintf("the trusted root %s, key %s", a.given[0].Subject.CommonName, shortKey(a.given[0]))
	}
	return fmt.Sprintf("one of %d trusted roots", len(a.given))
}

// keyFingerprint is the SHA-256 of a certificate's SubjectPublicKeyInfo.
func keyFingerprint(c *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(c.RawSubjectPublicKeyInfo)
}

func shortKey(c *x509.Certificate) string {
	sum := keyFingerprint(c)
	return hex.EncodeToString(sum[:8])
}

func isIntelKey(c *x509.Certificate) bool { return keyFingerprint(c) == intelRootKey }

// ParseRoots reads one or more trusted root certificates in PEM. The error is a *ConfigError.
func ParseRoots(text []byte) ([]*x509.Certificate, error) {
	certs, err := readCertificates(text, "trusted root")
	if err != nil {
		return nil, &ConfigError{fmt.Sprintf("parse trusted roots: %v", err)}
	}
	if _, err := newAnchors(certs); err != nil {
		return nil, fmt.Errorf("parse trusted roots: %w", err)
	}
	return certs, nil
}
