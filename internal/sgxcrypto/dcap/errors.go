package dcap

import (
	"errors"
	"fmt"
	"strings"
)

// Stage is the step of the verification that failed, in the order of Intel's quote verification library.
type Stage string

// Stages.
const (
	StageQuoteFormat       Stage = "quote_format"       // not a version 3 quote with a PCK chain
	StageCollateralMissing Stage = "collateral_missing" // a piece of collateral was not given
	StagePCKChain          Stage = "pck_chain"          // PCK certificate, intermediate CA, root CA
	StageRootCRL           Stage = "root_crl"           // CRL of the root CA
	StagePCKCRL            Stage = "pck_crl"            // CRL of the PCK CA
	StagePCKExtensions     Stage = "pck_extensions"     // SGX extension of the PCK certificate
	StageTCBInfo           Stage = "tcb_info"           // TCB info and its signing chain
	StageQEIdentity        Stage = "qe_identity"        // QE identity and its signing chain
	StageQEReport          Stage = "qe_report"          // signature and identity of the quoting enclave
	StageBinding           Stage = "binding"            // attestation key against the QE's report data
	StageQuoteSignature    Stage = "quote_signature"    // signature over the enclave's report
	StageTCBLevel          Stage = "tcb_level"          // platform against the TCB info's levels
	StagePolicy            Stage = "policy"             // genuine, but not wanted
)

// Reason is why a stage failed. It is stable and machine readable.
type Reason string

// Reasons.
const (
	ReasonFormat              Reason = "format"    // does not parse
	ReasonMissing             Reason = "missing"   // a required part is absent
	ReasonDuplicate           Reason = "duplicate" // a part that must be single is there twice
	ReasonCount               Reason = "count"     // too few or too many parts
	ReasonLength              Reason = "length"    // a value of the wrong length
	ReasonRange               Reason = "range"     // a number outside its range
	ReasonType                Reason = "type"      // a value of the wrong type
	ReasonVersion             Reason = "version"   // a version not known here
	ReasonID                  Reason = "id"        // a document for something else
	ReasonDate                Reason = "date"      // a malformed or contradictory date
	ReasonStatus              Reason = "status"    // a status word not known here
	ReasonLevels              Reason = "levels"    // malformed TCB levels
	ReasonCertificationType   Reason = "certification_data_type"
	ReasonUntrustedRoot       Reason = "untrusted_root"
	ReasonRoot                Reason = "root"    // the chain's last certificate is no root CA
	ReasonSubject             Reason = "subject" // a certificate with another role's name
	ReasonIssuer              Reason = "issuer"  // issuer and subject names do not link
	ReasonUnknownIssuer       Reason = "unknown_issuer"
	ReasonConstraints         Reason = "constraints" // basic constraints or key usage
	ReasonExtensions          Reason = "extensions"  // X.509 extensions missing or unknown and critical
	ReasonKey                 Reason = "key"         // not an ECDSA P-256 key
	ReasonSigningChain        Reason = "signing_chain"
	ReasonSigningChainExpired Reason = "signing_chain_expired"
	ReasonSignature           Reason = "signature"
	ReasonExpired             Reason = "expired"
	ReasonNotYetValid         Reason = "not_yet_valid"
	ReasonRevoked             Reason = "revoked"
	ReasonMismatch            Reason = "mismatch" // TCB info of another platform
	ReasonIdentityMismatch    Reason = "identity_mismatch"
	ReasonDebug               Reason = "debug"
	ReasonReportData          Reason = "report_data"
	ReasonNotSupported        Reason = "not_supported" // below every TCB level
)

// Error is a refusal: the quote is not shown to be genuine.
type Error struct {
	Stage  Stage
	Reason Reason
	What   string // what was examined, for example "PCK CRL"
	Got    string // what was found; may be empty
	Want   string // what was needed; may be empty
	Remedy string // what to do about it; may be empty
	Err    error  // cause; may be nil
}

// Error implements error: the check, what was found, what was wanted, what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Stage, e.What)
	switch {
	case e.Got != "" && e.Want != "":
		fmt.Fprintf(&b, ": found %s, want %s", e.Got, e.Want)
	case e.Got != "":
		fmt.Fprintf(&b, ": found %s", e.Got)
	case e.Want != "":
		fmt.Fprintf(&b, ": want %s", e.Want)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// advise makes sure that a refusal says what to do, and returns it.
func advise(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Remedy == "" {
		e.Remedy = remedies[e.Stage]
	}
	if e.Reason == ReasonExpired || e.Reason == ReasonNotYetValid || e.Reason == ReasonSigningChainExpired {
		e.Remedy += ", and check the clock"
	}
	return err
}

// remedies are for refusals that have no better one of their own.
var remedies = map[Stage]string{
	StageQuoteFormat:    "take a new quote",
	StagePCKChain:       "take a new quote; if that does not help, the platform's PCK certificate has to be provisioned anew",
	StagePCKExtensions:  "take a new quote; if that does not help, the platform's PCK certificate has to be provisioned anew",
	StageRootCRL:        "fetch the collateral again; if that does not help, from another service",
	StagePCKCRL:         "fetch the collateral again; if that does not help, from another service",
	StageTCBInfo:        "fetch the collateral again; if that does not help, from another service",
	StageQEIdentity:     "fetch the collateral again; if that does not help, from another service",
	StageQEReport:       tampered,
	StageBinding:        tampered,
	StageQuoteSignature: tampered,
	StageTCBLevel:       "fetch the collateral again, or use another platform",
}

const tampered = "the quote has been altered or damaged: take a new one"

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ConfigError is a mistake of the caller, not of the evidence: no time, or a trust root that cannot be one.
type ConfigError struct{ Problem string }

// Error implements error.
func (e *ConfigError) Error() string { return e.Problem }
