package dcap

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// routes counts how the evidence that VerifyBothWays was given went through the second route.
var routes struct{ checked, refusedEarly, concluded, refusedLate atomic.Int64 }

// VerifyBothWays verifies a quote in one step and in two, and fails unless both say the same: the same verdict, or the
// same refusal word by word. Where the two steps refuse a quote for its own signatures, one step may name a fault of
// the collateral, which it looks at first; it must refuse as well. A nil v is the functions instead of the methods.
func VerifyBothWays(tb testing.TB, v *Verifier, q *quote.Quote, c *Collateral, opts VerifyOptions) (*Verdict, error) {
	tb.Helper()
	verify, check := Verify, CheckEvidence
	if v != nil {
		verify = func(q *quote.Quote, c *Collateral, o VerifyOptions) (*Verdict, error) { return v.Verify(q, c, o.At) }
		check = func(q *quote.Quote, o VerifyOptions) (*CheckedEvidence, error) { return v.CheckEvidence(q, o.At) }
	}
	direct, directErr := verify(q, c, opts)
	routes.checked.Add(1)
	evidence, err := check(q, opts)
	if err != nil {
		routes.refusedEarly.Add(1)
		if evidence != nil || directErr == nil {
			tb.Errorf("CheckEvidence returned %v and refused what Verify accepts: %v", evidence, err)
		}
		if direct, early := cause(directErr), cause(err); direct != early && !aboutCollateral(directErr) {
			tb.Errorf("Verify says %s\nCheckEvidence says %s", direct, early)
		}
		return direct, directErr
	}
	if directErr != nil && !aboutCollateral(directErr) {
		tb.Errorf("CheckEvidence accepted what Verify refuses without looking at collateral: %v", directErr)
	}
	// The second step is given another quote's bytes to look at, should it look at the quote again.
	kept := *q
	*q = quote.Quote{}
	verdict, err := evidence.Verify(c, opts.At)
	*q = kept
	if err != nil {
		routes.refusedLate.Add(1)
	} else {
		routes.concluded.Add(1)
	}
	if (err == nil) != (directErr == nil) || err != nil && err.Error() != directErr.Error() {
		tb.Errorf("in two steps: %v\nin one: %v", err, directErr)
	}
	if diff := cmp.Diff(direct, verdict); diff != "" {
		tb.Errorf("verdict in one step and in two:\n%s", diff)
	}
	return direct, directErr
}

// LogRoutes reports the counts, and fails if a kind of outcome has not occurred at all.
func LogRoutes(tb testing.TB) {
	tb.Helper()
	all, early, good, late := routes.checked.Load(), routes.refusedEarly.Load(), routes.concluded.Load(), routes.refusedLate.Load()
	tb.Logf("%d verifications in one step and in two: %d refused before collateral, %d after, %d accepted", all, early, late, good)
	if early == 0 || good == 0 || late == 0 || early+good+late != all {
		tb.Error("an outcome is missing")
	}
}

// Platforms says how many PCK chains a verifier remembers.
func Platforms(v *Verifier) int { return len(v.platforms.entries) }

// cause is the text of a refusal without what was being done.
func cause(err error) string {
	var refusal *Error
	var config *ConfigError
	switch {
	case errors.As(err, &refusal):
		return refusal.Error()
	case errors.As(err, &config):
		return config.Error()
	case err == nil:
		return "nothing"
	}
	return "unclassified: " + err.Error()
}

// aboutCollateral reports whether a refusal needed collateral to be found.
func aboutCollateral(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Stage {
	case StageCollateralMissing, StageRootCRL, StagePCKCRL, StageTCBInfo, StageQEIdentity, StageTCBLevel:
		return true
	case StageQEReport:
		return e.Reason == ReasonIdentityMismatch || e.Reason == ReasonDebug
	default:
		return false
	}
}

// TestCheckedEvidenceCannotBeMade tries to conclude what CheckEvidence has not returned.
func TestCheckedEvidenceCannotBeMade(t *testing.T) {
	for _, e := range []*CheckedEvidence{nil, {}} {
		const want = "verify quote: evidence that has not been checked: get it from CheckEvidence"
		verdict, err := e.Verify(&Collateral{}, time.Unix(1, 0))
		var config *ConfigError
		if verdict != nil || !errors.As(err, &config) || err.Error() != want {
			t.Errorf("verdict %v, error %v, want %q", verdict, err, want)
		}
		if p := e.Platform(); p != nil {
			t.Errorf("platform %v", p)
		}
	}
}
