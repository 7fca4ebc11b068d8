package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// maxCRLSize bounds a CRL in any encoding, in bytes. Intel's largest has under 4 KiB.
const maxCRLSize = 2 << 20

// revocationList is a CRL whose issuer, profile and signature have been verified. Its dates have not.
type revocationList struct {
	stage      Stage
	what       string
	thisUpdate time.Time
	nextUpdate time.Time
	serials    map[string]struct{} // of revoked certificates, as hexadecimal numbers
}

// Object identifiers of CRL extensions (RFC 5280, sections 5.2 and 5.3).
var (
	oidCRLNumber         = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaCRL          = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingDistPoint  = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
)

// verifyCRL parses a CRL and verifies that issuer made it.
func verifyCRL(data []byte, issuer *x509.Certificate, stage Stage, what string) (*revocationList, error) {
	fail := func(reason Reason, got, want string, err error) error {
		return &Error{Stage: stage, Reason: reason, What: what, Got: got, Want: want, Err: err}
	}
	der, err := crlDER(data)
	if err != nil {
		return nil, fail(ReasonFormat, "", "a CRL in DER, PEM or hex of DER", err)
	}
	list, err := parseCRL(der)
	if err != nil {
		return nil, fail(ReasonFormat, "", "", err)
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, fail(ReasonUnknownIssuer, fmt.Sprintf("issuer %q", list.Issuer.CommonName), fmt.Sprintf("%q", issuer.Subject.CommonName), nil)
	}
	if got, want := crlProfileFault(list); got != "" {
		return nil, fail(ReasonExtensions, got, want, nil)
	}
	if list.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return nil, fail(ReasonKey, "signature algorithm "+list.SignatureAlgorithm.String(), x509.ECDSAWithSHA256.String(), nil)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, fail(ReasonSignature, fmt.Sprintf("a signature that %q did not make", issuer.Subject.CommonName), "", err)
	}
	switch {
	case list.NextUpdate.IsZero():
		return nil, fail(ReasonDate, "no nextUpdate", "the date of the next CRL", nil)
	case list.NextUpdate.Before(list.ThisUpdate):
		return nil, fail(ReasonDate, "nextUpdate "+stamp(list.NextUpdate), "at or after thisUpdate "+stamp(list.ThisUpdate), nil)
	}
	r := &revocationList{
		stage: stage, what: what, thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate,
		serials: make(map[string]struct{}, len(list.RevokedCertificateEntries)),
	}
	// Reason and date of a revocation are not looked at, as in Intel's library: what is listed is revoked.
	for _, entry := range list.RevokedCertificateEntries {
		r.serials[entry.SerialNumber.Text(16)] = struct{}{}
	}
	return r, nil
}

// crlDER finds out which of the three encodings a service has used. Intel's service sends DER or PEM, a PCCS sends hex
// text. The three cannot be confused: DER begins with 0x30, the hex of DER with the digit 3 (0x33).
func crlDER(data []byte) ([]byte, error) {
	if len(data) > maxCRLSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), maxCRLSize)
	}
	if len(data) > 0 && data[0] == 0x30 {
		return data, nil
	}
	text := bytes.Trim(data, asciiSpace)
	if bytes.HasPrefix(text, []byte("-----BEGIN X509 CRL-----")) {
		block, rest := pem.Decode(text)
		if block == nil || len(rest) > 0 || len(block.Headers) > 0 || bytes.Count(text, []byte(pemBeginMark)) != 1 {
			return nil, fmt.Errorf("damaged PEM block, or more than one")
		}
		return block.Bytes, nil
	}
	der, err := hex.DecodeString(string(text))
	if err != nil || len(der) == 0 {
		return nil, fmt.Errorf("it begins with %q", head(data))
	}
	return der, nil
}

// parseCRL is x509.ParseRevocationList without its tolerance for bytes after the list and after its signature.
func parseCRL(der []byte) (*x509.RevocationList, error) {
	var parts []asn1.RawValue
	rest, err := asn1.Unmarshal(der, &parts)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 || len(parts) != 3 {
		return nil, fmt.Errorf("%d bytes after the list and %d parts in it, want none and 3", len(rest), len(parts))
	}
	return x509.ParseRevocationList(der)
}

// crlProfileFault finds what keeps a CRL from being a complete list of one CA's revoked certificates.
func crlProfileFault(list *x509.RevocationList) (got, want string) {
	if list.Number == nil || len(list.AuthorityKeyId) == 0 {
		return "no CRL number or no authority key identifier", "both"
	}
	for _, ext := range list.Extensions {
		switch {
		case ext.Id.Equal(oidDeltaCRL):
			return "a delta CRL", "a complete one"
		case ext.Id.Equal(oidIssuingDistPoint):
			return "an indirect or partitioned CRL", "a complete one of one issuer"
		case ext.Critical && !ext.Id.Equal(oidCRLNumber):
			return fmt.Sprintf("unknown critical extension %v", ext.Id), "known extensions only"
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, ext := range entry.Extensions {
			if ext.Critical || ext.Id.Equal(oidCertificateIssuer) {
				return fmt.Sprintf("extension %v in the entry of %s", ext.Id, entry.SerialNumber.Text(16)), "no critical entry extension"
			}
		}
	}
	return "", ""
}

// checkDates holds thisUpdate and nextUpdate against the time, both inclusive.
func (l *revocationList) checkDates(at time.Time) error {
	if e := checkWindow(at, l.thisUpdate, l.nextUpdate); e != nil {
		e.Stage, e.What = l.stage, l.what
		return e
	}
	return nil
}

func (l *revocationList) revoked(serial *big.Int) bool {
	_, found := l.serials[serial.Text(16)]
	return found
}

// checkNotRevoked refuses a certificate that is on the list. The stage is the caller's: a revoked TCB signer is a
// fault of the document it signed.
func (l *revocationList) checkNotRevoked(cert *x509.Certificate, is role, stage Stage) error {
	if !l.revoked(cert.SerialNumber) {
		return nil
	}
	return &Error{
		Stage: stage, Reason: ReasonRevoked, What: is.String(),
		Got:    fmt.Sprintf("serial number %s in the %s of %s", cert.SerialNumber.Text(16), l.what, stamp(l.thisUpdate)),
		Want:   "a certificate that is not revoked",
		Remedy: "do not use this platform until its vendor has re-provisioned it",
	}
}

// revocation is the verified CRLs of one platform's CAs.
type revocation struct {
	root, pck *revocationList
	issuer    *chain // of the PCK CRL
}

// checkRevocation verifies both CRLs and looks the quote's certificates up in them.
func (r *run) checkRevocation(e *evidenceChain, c *Collateral, at time.Time) (*revocation, error) {
	ca, root := e.chain.certs[1], e.chain.root()
	key := digest(c.RootCACRL, c.PCKCRL, c.PCKCRLIssuerChain, ca.Raw, root.Raw)
	rev, err := r.revocation.get(key, maxCollateral, func() (*revocation, error) {
		return r.verifyRevocation(c, ca, root, at)
	})
	if err != nil {
		return nil, err
	}
	if err := rev.checkDates(at); err != nil {
		return nil, err
	}
	for _, c := range []*chain{e.chain, rev.issuer} {
		if err := rev.root.checkNotRevoked(c.certs[len(c.certs)-2], rolePCKCA, StageRootCRL); err != nil {
			return nil, err
		}
	}
	if err := rev.pck.checkNotRevoked(e.chain.leaf(), rolePCK, StagePCKCRL); err != nil {
		return nil, err
	}
	return rev, nil
}

var crlIssuerSpec = chainSpec{StagePCKCRL, "PCK CRL issuer chain", []role{rolePCKCA, roleRoot}}

// verifyRevocation verifies the CRLs against the CAs of the quote. The issuer chain that comes with the PCK CRL must be
// of the same CA; it adds nothing to trust, but a service that sends another one has mixed up its answers.
func (r *run) verifyRevocation(c *Collateral, ca, root *x509.Certificate, at time.Time) (*revocation, error) {
	rev := &revocation{}
	var err error
	if rev.root, err = verifyCRL(c.RootCACRL, root, StageRootCRL, "root CA CRL"); err != nil {
		return nil, err
	}
	if err := rev.root.checkDates(at); err != nil {
		return nil, err
	}
	if rev.pck, err = verifyCRL(c.PCKCRL, ca, StagePCKCRL, "PCK CRL"); err != nil {
		return nil, err
	}
	if rev.issuer, err = r.verifyChain(c.PCKCRLIssuerChain, crlIssuerSpec); err != nil {
		return nil, asSigningChain(err)
	}
	if issuer := rev.issuer.leaf(); issuer.Subject.CommonName != ca.Subject.CommonName || keyFingerprint(issuer) != keyFingerprint(ca) {
		return nil, &Error{
			Stage: StagePCKCRL, Reason: ReasonUnknownIssuer, What: crlIssuerSpec.what,
			Got:  fmt.Sprintf("%q, key %s", issuer.Subject.CommonName, shortKey(issuer)),
			Want: fmt.Sprintf("%q, key %s, of the quote's PCK chain", ca.Subject.CommonName, shortKey(ca)),
		}
	}
	return rev, nil
}

func (rev *revocation) checkDates(at time.Time) error {
	if err := rev.root.checkDates(at); err != nil {
		return err
	}
	if err := rev.pck.checkDates(at); err != nil {
		return err
	}
	if err := rev.issuer.checkDates(at); err != nil {
		return asSigningChain(err)
	}
	return nil
}
