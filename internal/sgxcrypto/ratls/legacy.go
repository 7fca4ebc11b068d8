package ratls

import (
	"crypto/sha256"
	"encoding/asn1"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// oidLegacy is the OID of the legacy extension. 1.2.840.113741.1337.6 was meant, but Gramine puts the whole DER of
// that OID, tag and length included, where its content belongs, and no release has ever written anything else.
var oidLegacy = asn1.ObjectIdentifier{0, 6, 9, 42, 840, 113741, 1337, 6}

// legacyReportData is what a quote for the legacy form has to contain.
func legacyReportData(spki []byte) (data [64]byte) {
	sum := sha256.Sum256(spki)
	copy(data[:], sum[:])
	return data
}

// parseLegacy reads the extension's value, which is the quote itself without any further encoding, and checks that it
// binds the key.
func parseLegacy(value, spki []byte) (*quote.Quote, error) {
	q, err := quote.Parse(value)
	if err != nil {
		return nil, &Error{Kind: BadQuote, Form: Legacy, Err: err}
	}
	if err := checkReportData(Legacy, q, legacyReportData(spki), "the SHA-256 of the certificate's public key"); err != nil {
		return nil, err
	}
	return q, nil
}

// checkReportData holds all 64 bytes against what they must be. Gramine compares the first 32 alone; a quote whose
// report data has something in the upper half was made for another protocol.
func checkReportData(form Form, q *quote.Quote, want [64]byte, what string) error {
	got := q.Body.ReportData
	if [32]byte(got[:32]) != [32]byte(want[:32]) {
		return fail(NotBound, form, "report data begins with %x, want %x, %s: the quote is about another key", got[:32], want[:32], what)
	}
	if [32]byte(got[32:]) != [32]byte(want[32:]) {
		return fail(NotBound, form, "report data ends with %x, want 32 zero bytes", got[32:])
	}
	return nil
}
