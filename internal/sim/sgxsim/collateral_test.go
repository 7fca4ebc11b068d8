package sgxsim_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// now is the simulated time of these tests.
var now = time.Date(2026, 7, 1, 15, 30, 0, 0, time.UTC)

var identity = sgxsim.Identity{MRENCLAVE: [32]byte{1, 2, 3}, MRSIGNER: [32]byte{4, 5, 6}, ISVProdID: 7, ISVSVN: 8}

func newPlatform(tb testing.TB, opts sgxsim.Options) *sgxsim.Platform {
	tb.Helper()
	if opts.At.IsZero() {
		opts.At = now
	}
	return must(sgxsim.New(opts))(tb)
}

// must is must(f())(tb).
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func roots(tb testing.TB, p *sgxsim.Platform) []*x509.Certificate {
	tb.Helper()
	block, rest := pem.Decode(p.RootPEM())
	if block == nil || len(rest) > 0 {
		tb.Fatal("root is not one PEM block")
	}
	return []*x509.Certificate{must(x509.ParseCertificate(block.Bytes))(tb)}
}

func makeQuote(tb testing.TB, p *sgxsim.Platform, id sgxsim.Identity) *quote.Quote {
	tb.Helper()
	raw := must(p.Quoter(id).Quote(tb.Context(), [64]byte{9}))(tb)
	q := must(quote.Parse(raw))(tb)
	if again := must(q.Marshal())(tb); !bytes.Equal(again, raw) {
		tb.Fatal("a quote does not survive parsing and marshalling")
	}
	return q
}

func verify(tb testing.TB, p *sgxsim.Platform, q *quote.Quote, at time.Time) (*dcap.Verdict, error) {
	tb.Helper()
	c := must(p.Collateral(at))(tb)
	return dcap.Verify(q, (*dcap.Collateral)(c), dcap.VerifyOptions{At: at, Roots: roots(tb, p)})
}

// TestGenuine has the product's verifier, which shares no code with the simulator, accept what the simulator makes.
func TestGenuine(t *testing.T) {
	for _, tt := range []struct {
		ca      string
		sgxType dcap.SGXType
		config  bool
	}{{"platform", dcap.SGXScalable, true}, {"processor", dcap.SGXStandard, false}} {
		t.Run(tt.ca, func(t *testing.T) {
			p := newPlatform(t, sgxsim.Options{CA: tt.ca})
			id := identity
			id.Debug = true
			v, err := verify(t, p, makeQuote(t, p, id), now)
			if err != nil {
				t.Fatal(err)
			}
			if v.Status != dcap.StatusSWHardeningNeeded || v.QEStatus != dcap.StatusUpToDate || v.EvaluationNumber != 17 {
				t.Errorf("status %v, QE %v, evaluation number %d", v.Status, v.QEStatus, v.EvaluationNumber)
			}
			if diff := cmp.Diff([]string{"INTEL-SA-00615"}, v.Advisories); diff != "" {
				t.Errorf("advisories (-want +got):\n%s", diff)
			}
			if v.PCK.FMSPC.String() != "00606A000000" || v.PCK.CA != tt.ca || v.PCK.SGXType != tt.sgxType || (v.PCK.Configuration != nil) != tt.config {
				t.Errorf("PCK %+v", v.PCK)
			}
			r := v.Report
			if r.MRENCLAVE != id.MRENCLAVE || r.MRSIGNER != id.MRSIGNER || r.ISVProdID != 7 || r.ISVSVN != 8 || !r.Attributes.Debug() || r.ReportData[0] != 9 {
				t.Errorf("report %+v", r)
			}
			if !v.Simulated {
				t.Error("the verdict does not say that it is simulated")
			}
		})
	}
}

// TestNobodyTakesItForIntel is about the names, and about the verifier's own trust.
func TestNobodyTakesItForIntel(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	c := must(p.Collateral(now))(t)
	_, err := dcap.Verify(makeQuote(t, p, identity), (*dcap.Collateral)(c), dcap.VerifyOptions{At: now})
	var e *dcap.Error
	if !errors.As(err, &e) || e.Reason != dcap.ReasonUntrustedRoot {
		t.Errorf("error %v, want reason %s", err, dcap.ReasonUntrustedRoot)
	}
	for _, chain := range [][]byte{p.PCKChain(), p.TCBSigningChain(), p.PCKCRLChain("platform"), p.PCKCRLChain("processor")} {
		for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
			c := must(x509.ParseCertificate(block.Bytes))(t)
			if !strings.HasPrefix(c.Subject.CommonName, "CC SIMULATED ") || !strings.HasSuffix(c.Subject.CommonName, " - NOT INTEL") {
				t.Errorf("common name %q", c.Subject.CommonName)
			}
			for _, org := range c.Subject.Organization {
				if strings.Contains(org, "Intel") {
					t.Errorf("organization %q", org)
				}
			}
		}
	}
}

// TestCollateralIsDatedByTheDay follows one platform through time.
func TestCollateralIsDatedByTheDay(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	first := must(p.Collateral(now))(t)
	if diff := cmp.Diff(first, must(p.Collateral(now.Add(8*time.Hour)))(t)); diff != "" {
		t.Errorf("the same day's collateral differs:\n%s", diff)
	}
	tomorrow := must(p.Collateral(now.Add(24 * time.Hour)))(t)
	if bytes.Equal(first.TCBInfo, tomorrow.TCBInfo) || bytes.Equal(first.PCKCRL, tomorrow.PCKCRL) {
		t.Error("the next day's collateral is the same")
	}
	q := makeQuote(t, p, identity)
	for _, tt := range []struct {
		days   int
		reason dcap.Reason
	}{{0, ""}, {29, ""}, {30, dcap.ReasonExpired}, {-1, dcap.ReasonNotYetValid}} {
		at := now.AddDate(0, 0, tt.days)
		_, err := dcap.Verify(q, (*dcap.Collateral)(first), dcap.VerifyOptions{At: at, Roots: roots(t, p)})
		var e *dcap.Error
		switch {
		case tt.reason == "" && err != nil:
			t.Errorf("after %d days: %v", tt.days, err)
		case tt.reason != "" && (!errors.As(err, &e) || e.Reason != tt.reason):
			t.Errorf("after %d days: error %v, want reason %s", tt.days, err, tt.reason)
		}
		if tt.days >= 0 {
			if _, err := verify(t, p, q, at); err != nil {
				t.Errorf("after %d days with fresh collateral: %v", tt.days, err)
			}
		}
	}
	if _, err := verify(t, p, q, now.AddDate(5, 0, 0)); err != nil {
		t.Errorf("after five years: %v", err)
	}
}

// TestEarlySet is the next TCB recovery: accepted today, refused tomorrow.
func TestEarlySet(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	p.Standard = p.Early
	v, err := verify(t, p, makeQuote(t, p, identity), now)
	if err != nil {
		t.Fatal(err)
	}
	if v.Status != dcap.StatusOutOfDate || v.EvaluationNumber != 18 {
		t.Errorf("status %v at evaluation number %d, want %v at 18", v.Status, v.EvaluationNumber, dcap.StatusOutOfDate)
	}
}

// TestCollateralFile has the product's reader read the file.
func TestCollateralFile(t *testing.T) {
	for _, ca := range []string{"platform", "processor"} {
		p := newPlatform(t, sgxsim.Options{CA: ca})
		bundle, err := pccs.ReadBundle(bytes.NewReader(must(p.CollateralFile(now))(t)))
		if err != nil {
			t.Fatal(err)
		}
		q := makeQuote(t, p, identity)
		platform := must(dcap.CheckEvidence(q, dcap.VerifyOptions{At: now, Roots: roots(t, p)}))(t).Platform()
		c := must(bundle.Collateral(t.Context(), platform))(t)
		if _, err := dcap.Verify(q, c, dcap.VerifyOptions{At: now, Roots: roots(t, p)}); err != nil {
			t.Errorf("%s: %v", ca, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := sgxsim.New(sgxsim.Options{CA: "Platform"})
	const want = `make simulated SGX platform: choose PCK CA: found "Platform", want "platform" or "processor"`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestNewUsesTheClock is the only place where the package reads it.
func TestNewUsesTheClock(t *testing.T) {
	p := must(sgxsim.New(sgxsim.Options{}))(t)
	if _, err := verify(t, p, makeQuote(t, p, identity), time.Now()); err != nil {
		t.Error(err)
	}
}
