package ratls

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// vectorTime lies within the validity of everything under testdata/gramine/collateral.
var vectorTime = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

func vectorRoots(tb testing.TB) []*x509.Certificate {
	tb.Helper()
	block, _ := pem.Decode(readFile(tb, "gramine/collateral/root.pem"))
	return []*x509.Certificate{parseDER(tb, block.Bytes)}
}

func vectorCollateral(tb testing.TB) *dcap.Collateral {
	tb.Helper()
	file := func(name string) []byte { return readFile(tb, "gramine/collateral/"+name) }
	return &dcap.Collateral{
		TCBInfo: file("tcbinfo.json"), TCBInfoIssuerChain: file("tcb_chain.pem"),
		QEIdentity: file("qeidentity.json"), QEIdentityIssuerChain: file("tcb_chain.pem"),
		PCKCRL: file("pckcrl.der"), PCKCRLIssuerChain: file("pck_crl_chain.pem"),
		RootCACRL: file("rootcrl.der"),
	}
}

// source counts how often it is asked.
type source struct {
	collateral *dcap.Collateral
	err        error
	asked      []dcap.Platform
}

func (s *source) Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	s.asked = append(s.asked, *p)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.collateral, s.err
}

func newVerifier(tb testing.TB, s CollateralSource, roots []*x509.Certificate, at time.Time) *Verifier {
	tb.Helper()
	v, err := NewVerifier(VerifierOptions{Collateral: s, Roots: roots, Now: func() time.Time { return at }})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func vectorEvidence(tb testing.TB, name string) *Evidence {
	tb.Helper()
	e, err := ParseCertificate(parseDER(tb, readFile(tb, "gramine/"+name)))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// TestVerifyGramineCertificates judges certificates that Gramine's own libraries made, from the certificate to the policy.
func TestVerifyGramineCertificates(t *testing.T) {
	policy := dcap.Policy{MRENCLAVE: [][32]byte{[32]byte(fill(32, 0xab))}, MRSIGNER: [][32]byte{[32]byte(fill(32, 0xcd))}, AcceptStatuses: []dcap.Status{dcap.StatusUpToDate}}
	for _, vec := range readVectors(t) {
		t.Run(vec.File, func(t *testing.T) {
			e, err := ParseCertificate(vec.certificate(t))
			if vec.Expect == "reject" {
				if err == nil {
					t.Fatal("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := &source{collateral: vectorCollateral(t)}
			verdict, err := newVerifier(t, s, vectorRoots(t), vectorTime).Verify(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if verdict.Status != dcap.StatusUpToDate || !verdict.Simulated {
				t.Errorf("status %v, simulated %v", verdict.Status, verdict.Simulated)
			}
			want := []dcap.Platform{{FMSPC: dcap.FMSPC{0, 0x90, 0x6e, 0xd5}, CA: dcap.CAProcessor, Simulated: true}}
			if diff := cmp.Diff(want, s.asked); diff != "" {
				t.Errorf("asked for collateral (-want +got):\n%s", diff)
			}
			err = policy.Check(verdict)
			switch vec.Expect {
			case "accept":
				if err != nil {
					t.Errorf("policy: %v", err)
				}
			case "reject unless debug allowed":
				if err == nil || !strings.Contains(err.Error(), "debug") {
					t.Errorf("policy error %v, want a refusal of debug", err)
				}
				lax := policy
				lax.AllowDebug = true
				if err := lax.Check(verdict); err != nil {
					t.Errorf("policy that allows debug: %v", err)
				}
			default:
				t.Fatalf("index.json expects %q, which this test does not know", vec.Expect)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		roots  bool
		at     time.Time
		change func(*Evidence)
		source source
		stage  dcap.Stage // of a *dcap.Error; empty: a *CollateralError
		asked  int
		text   string
	}{
		{
			name: "root is not Intel's", at: vectorTime,
			stage: dcap.StagePCKChain, text: "verify RA-TLS evidence: ",
		},
		{
			name: "forged measurement", roots: true, at: vectorTime,
			change: func(e *Evidence) { e.Quote.Body.MRENCLAVE[0] ^= 1 },
			stage:  dcap.StageQuoteSignature, text: "verify RA-TLS evidence: ",
		},
		{
			name: "forged QE report", roots: true, at: vectorTime,
			change: func(e *Evidence) { e.Quote.QEReport.MRSIGNER[0] ^= 1 },
			stage:  dcap.StageQEReport, text: "verify RA-TLS evidence: ",
		},
		{
			name: "PCK certificate has expired", roots: true, at: time.Date(2033, 1, 1, 0, 0, 0, 0, time.UTC),
			stage: dcap.StagePCKChain, text: "verify RA-TLS evidence: ",
		},
		{
			name: "collateral is unreachable", roots: true, at: vectorTime, source: source{err: errors.New("connection refused")},
			asked: 1, text: "verify RA-TLS evidence: get collateral for FMSPC 00906ED50000, PCK processor CA: connection refused",
		},
		{
			name: "source has neither collateral nor error", roots: true, at: vectorTime,
			asked: 1, text: "verify RA-TLS evidence: get collateral for FMSPC 00906ED50000, PCK processor CA: the source answered with nothing",
		},
		{
			name: "collateral is empty", roots: true, at: vectorTime, source: source{collateral: &dcap.Collateral{}},
			asked: 1, stage: dcap.StageCollateralMissing, text: "verify RA-TLS evidence: ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := vectorEvidence(t, "good_v1.9.der")
			if tt.change != nil {
				tt.change(e)
			}
			var roots []*x509.Certificate
			if tt.roots {
				roots = vectorRoots(t)
			}
			verdict, err := newVerifier(t, &tt.source, roots, tt.at).Verify(t.Context(), e)
			if err == nil || verdict != nil {
				t.Fatalf("verdict %v, error %v", verdict, err)
			}
			var genuine *dcap.Error
			var unknown *CollateralError
			switch {
			case tt.stage != "" && (!errors.As(err, &genuine) || genuine.Stage != tt.stage):
				t.Errorf("error %v, want stage %s", err, tt.stage)
			case tt.stage == "" && !errors.As(err, &unknown):
				t.Errorf("error %v, want a *CollateralError", err)
			}
			if !strings.HasPrefix(err.Error(), tt.text) {
				t.Errorf("error %q, want prefix %q", err, tt.text)
			}
			if len(tt.source.asked) != tt.asked {
				t.Errorf("collateral was asked for %d times, want %d", len(tt.source.asked), tt.asked)
			}
		})
	}
}

// TestVerifyReadsTheClockAgain lets collateral arrive so late that the PCK certificate has expired meanwhile.
func TestVerifyReadsTheClockAgain(t *testing.T) {
	at := vectorTime
	s := &source{collateral: vectorCollateral(t)}
	v, err := NewVerifier(VerifierOptions{
		Collateral: slowSource{s, func() { at = at.AddDate(10, 0, 0) }}, Roots: vectorRoots(t),
		Now: func() time.Time { return at },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), vectorEvidence(t, "good_v1.9.der"))
	var e *dcap.Error
	if !errors.As(err, &e) || e.Reason != dcap.ReasonExpired {
		t.Errorf("error %v, want reason %s", err, dcap.ReasonExpired)
	}
	if len(s.asked) != 1 {
		t.Errorf("collateral was asked for %d times, want once", len(s.asked))
	}
}

// TestVerifyDoubtsCollateral has collateral that does not verify, and a source that may or may not have better.
func TestVerifyDoubtsCollateral(t *testing.T) {
	good, stale, foreign := vectorCollateral(t), *vectorCollateral(t), *vectorCollateral(t)
	stale.TCBInfo = append([]byte(" "), stale.TCBInfo...)
	stale.TCBInfo = stale.TCBInfo[:len(stale.TCBInfo)-1]
	foreign.PCKCRL = foreign.RootCACRL
	for _, tt := range []struct {
		name           string
		first, second  *dcap.Collateral
		hope           bool
		asked, doubted int
		stage          dcap.Stage // empty: accepted
	}{
		{"good", good, nil, true, 1, 0, ""},
		{"better the second time", &stale, good, true, 2, 1, ""},
		{"another document", &foreign, good, true, 2, 1, ""},
		{"no better to be had", &stale, good, false, 1, 1, dcap.StageTCBInfo},
		{"bad twice", &stale, &foreign, true, 2, 1, dcap.StagePCKCRL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, doubted := &source{collateral: tt.first}, 0
			v, err := NewVerifier(VerifierOptions{
				Collateral: s, Roots: vectorRoots(t), Now: func() time.Time { return vectorTime },
				Doubt: func(p *dcap.Platform) bool {
					if *p != s.asked[0] {
						t.Errorf("doubted %v, asked for %v", *p, s.asked[0])
					}
					doubted++
					s.collateral = tt.second
					return tt.hope
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			verdict, err := v.Verify(t.Context(), vectorEvidence(t, "good_v1.9.der"))
			var e *dcap.Error
			if tt.stage == "" && (err != nil || verdict == nil) || tt.stage != "" && (!errors.As(err, &e) || e.Stage != tt.stage) {
				t.Errorf("verdict %v, error %v, want stage %q", verdict, err, tt.stage)
			}
			if len(s.asked) != tt.asked || doubted != tt.doubted {
				t.Errorf("asked %d times, doubted %d times, want %d, %d", len(s.asked), doubted, tt.asked, tt.doubted)
			}
		})
	}
}

type slowSource struct {
	CollateralSource
	wait func()
}

func (s slowSource) Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	s.wait()
	return s.CollateralSource.Collateral(ctx, p)
}

func TestVerifyPassesTheContextOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := newVerifier(t, &source{collateral: vectorCollateral(t)}, vectorRoots(t), vectorTime)
	if _, err := v.Verify(ctx, vectorEvidence(t, "good_v1.9.der")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestVerifyWithoutEvidence(t *testing.T) {
	v := newVerifier(t, &source{}, nil, vectorTime)
	for _, e := range []*Evidence{nil, {}} {
		_, err := v.Verify(t.Context(), e)
		checkError(t, err, NoEvidence, "verify RA-TLS evidence: no evidence")
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	clock := func() time.Time { return vectorTime }
	for _, tt := range []struct {
		name string
		opts VerifierOptions
		want string
	}{
		{"zero", VerifierOptions{}, "make RA-TLS verifier: no source of collateral"},
		{"no clock", VerifierOptions{Collateral: &source{}}, "make RA-TLS verifier: no clock"},
		{"empty roots", VerifierOptions{Collateral: &source{}, Now: clock, Roots: []*x509.Certificate{}}, "make RA-TLS verifier: make verifier: trusted roots: "},
	} {
		v, err := NewVerifier(tt.opts)
		if v != nil || err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want prefix %q", tt.name, err, tt.want)
		}
	}
}

func fill(n int, b byte) []byte {
	s := make([]byte, n)
	for i := range s {
		s[i] = b
	}
	return s
}
