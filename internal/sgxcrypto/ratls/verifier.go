package ratls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// CollateralSource has the collateral that a platform's quotes are verified with: a service, or a file.
type CollateralSource interface {
	Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error)
}

// VerifierOptions configure a Verifier.
type VerifierOptions struct {
	// Collateral is required.
	Collateral CollateralSource
	// Roots are the trusted root certificates; nil trusts Intel only.
	Roots []*x509.Certificate
	// Now is the clock; required.
	Now func() time.Time
	// Doubt is told of a platform whose collateral did not verify, and reports whether the source may have other
	// collateral when it is asked once more: a cache's can be fetched again. Nil is never.
	Doubt func(*dcap.Platform) bool
}

// Verifier tells genuine evidence from what is not. It may be used by several goroutines.
type Verifier struct {
	collateral CollateralSource
	dcap       *dcap.Verifier
	now        func() time.Time
	doubt      func(*dcap.Platform) bool
}

// NewVerifier makes a Verifier.
func NewVerifier(opts VerifierOptions) (*Verifier, error) {
	if opts.Collateral == nil {
		return nil, errors.New("make RA-TLS verifier: no source of collateral")
	}
	if opts.Now == nil {
		return nil, errors.New("make RA-TLS verifier: no clock")
	}
	v, err := dcap.NewVerifier(opts.Roots)
	if err != nil {
		return nil, fmt.Errorf("make RA-TLS verifier: %w", err)
	}
	return &Verifier{collateral: opts.Collateral, dcap: v, now: opts.Now, doubt: opts.Doubt}, nil
}

// CollateralError says that evidence could not be judged, because there was nothing to judge it with. It is not the
// enclave's fault.
type CollateralError struct {
	Platform dcap.Platform
	Err      error
}

// Error implements error.
func (e *CollateralError) Error() string {
	return fmt.Sprintf("get collateral for FMSPC %s, PCK %s CA: %v", e.Platform.FMSPC, e.Platform.CA, e.Err)
}

// Unwrap returns the cause.
func (e *CollateralError) Unwrap() error { return e.Err }

// Verify says whether evidence is genuine. The error is a *dcap.Error (not genuine), a *CollateralError (unknown), or of
// ctx. A nil error does not mean that the enclave is wanted: give the verdict to a [dcap.Policy].
//
// Collateral is asked for only after all that needs none has been verified. A stranger without a genuine platform
// can make us compute a few signatures, but not fetch.
func (v *Verifier) Verify(ctx context.Context, e *Evidence) (*dcap.Verdict, error) {
	if e == nil || e.Quote == nil {
		return nil, fmt.Errorf("verify RA-TLS evidence: %w", fail(NoEvidence, 0, "no evidence"))
	}
	checked, err := v.dcap.CheckEvidence(e.Quote, v.now())
	if err != nil {
		return nil, fmt.Errorf("verify RA-TLS evidence: %w", err)
	}
	verdict, err := v.conclude(ctx, checked)
	// A lying or broken service must not lock out a platform until its collateral is due for a refresh.
	if v.doubt != nil && aboutCollateral(err) && v.doubt(checked.Platform()) {
		verdict, err = v.conclude(ctx, checked)
	}
	if err != nil {
		return nil, fmt.Errorf("verify RA-TLS evidence: %w", err)
	}
	return verdict, nil
}

// conclude fetches collateral for evidence and verifies what is left to verify with it.
func (v *Verifier) conclude(ctx context.Context, e *dcap.CheckedEvidence) (*dcap.Verdict, error) {
	platform := e.Platform()
	c, err := v.collateral.Collateral(ctx, platform)
	if err == nil && c == nil {
		err = errors.New("the source answered with nothing")
	}
	if err != nil {
		return nil, &CollateralError{*platform, err}
	}
	// The clock is read again: fetching may have taken long enough for something to expire.
	return e.Verify(c, v.now())
}

// aboutCollateral reports whether a refusal may be the collateral's fault.
func aboutCollateral(err error) bool {
	var e *dcap.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Stage {
	case dcap.StageRootCRL, dcap.StagePCKCRL, dcap.StageTCBInfo, dcap.StageQEIdentity:
		return true
	default:
		return false
	}
}
