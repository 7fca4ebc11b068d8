package sgxsim_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// scene is genuine evidence that a case breaks somewhere.
type scene struct {
	testing.TB
	p *sgxsim.Platform
	q *quote.Quote
	c *sgxsim.Collateral
}

// requote makes the quote again, after the PCK certificate has changed.
func (s *scene) requote() { s.q = must(s.p.NewQuote(identity, [64]byte{9}))(s) }

// extension writes a changed SGX extension into the PCK certificate and makes the quote again.
func (s *scene) extension(change func([]sgxsim.SGXEntry) []sgxsim.SGXEntry) {
	entries := change(must(s.p.Machine.Extension().Entries())(s))
	s.p.PCK.Certificate.Extension(sgxsim.OIDSGX).Value = must(sgxsim.MarshalSGXEntries(entries))(s)
	s.resign(s.p.PCK, s.p.CA())
	s.requote()
}

func (s *scene) resign(a, issuer *sgxsim.Authority) {
	if err := a.Sign(issuer); err != nil {
		s.Fatal(err)
	}
}

// object replaces text in a signed object and signs it again.
func (s *scene) object(object []byte, from, to string) []byte {
	changed := bytes.Replace(object, []byte(from), []byte(to), 1)
	if bytes.Equal(changed, object) {
		s.Fatalf("%s is not in %s", from, object)
	}
	return changed
}

func (s *scene) tcbInfo(from, to string) {
	o := s.object(must(s.p.TCBInfo(now, s.p.Standard).Object())(s), from, to)
	s.c.TCBInfo = must(s.p.TCBSigner.SignJSON("tcbInfo", o))(s)
}

func (s *scene) qeIdentity(change func(*sgxsim.QEIdentity)) {
	id := s.p.QEIdentity(now, s.p.Standard)
	change(id)
	s.c.QEIdentity = must(id.Sign(s.p.TCBSigner))(s)
}

func (s *scene) crl(ca string, change func(*sgxsim.CRL)) {
	crl := must(s.p.PCKCRL(now, ca))(s)
	change(crl)
	s.c.PCKCRL = must(crl.DER(s.p.PlatformCA.Key))(s)
}

func (s *scene) rootCRL(change func(*sgxsim.CRL)) {
	crl := must(s.p.RootCRL(now))(s)
	change(crl)
	s.c.RootCACRL = must(crl.DER(s.p.Root.Key))(s)
}

// TestBreaking shows that every piece can be broken by itself, and that a verifier then names that piece. The verifier's own
// matrix is in its own package; this one is about the tools.
func TestBreaking(t *testing.T) {
	day := 24 * time.Hour
	for _, tt := range []struct {
		name   string
		change func(s *scene)
		stage  dcap.Stage
		reason dcap.Reason
	}{
		{"nothing", func(*scene) {}, "", ""},
		{"quote body", func(s *scene) { s.q.Body.MRENCLAVE[0] ^= 1 }, dcap.StageQuoteSignature, dcap.ReasonSignature},
		{"quote body, signed again", func(s *scene) {
			s.q.Body.MRENCLAVE[0] ^= 1
			s.must(s.p.SignQuote(s.q))
		}, "", ""},
		{"QE report", func(s *scene) { s.q.QEReport.ISVSVN++ }, dcap.StageQEReport, dcap.ReasonSignature},
		{"QE of another signer", func(s *scene) {
			s.q.QEReport.MRSIGNER[0] ^= 1
			s.must(s.p.SignQEReport(s.q))
		}, dcap.StageQEReport, dcap.ReasonIdentityMismatch},
		{"QE report data", func(s *scene) {
			s.q.QEReport.ReportData[0] ^= 1
			s.must(s.p.SignQEReport(s.q))
		}, dcap.StageBinding, dcap.ReasonReportData},
		{"authentication data of another length", func(s *scene) {
			s.q.QEAuthData = []byte("short")
			s.p.BindAttestationKey(s.q)
			s.must(s.p.SignQEReport(s.q))
		}, "", ""},
		{"PCK certificate expired", func(s *scene) {
			s.p.PCK.Certificate.NotAfter = now.Add(-day)
			s.resign(s.p.PCK, s.p.CA())
			s.requote()
		}, dcap.StagePCKChain, dcap.ReasonExpired},
		{"PCK certificate by another CA", func(s *scene) {
			s.resign(s.p.PCK, s.p.ProcessorCA)
			s.requote()
		}, dcap.StagePCKChain, dcap.ReasonSignature},
		{"PCK certificate without key usage", func(s *scene) {
			s.p.PCK.Certificate.Remove(sgxsim.OIDKeyUsage)
			s.resign(s.p.PCK, s.p.CA())
			s.requote()
		}, dcap.StagePCKChain, dcap.ReasonExtensions},
		{"PCK certificate of another name", func(s *scene) {
			s.p.PCK.Certificate.Subject = must(sgxsim.Name("somebody"))(s)
			s.resign(s.p.PCK, s.p.CA())
			s.requote()
		}, dcap.StagePCKChain, dcap.ReasonSubject},
		{"no SGX extension", func(s *scene) {
			s.p.PCK.Certificate.Remove(sgxsim.OIDSGX)
			s.resign(s.p.PCK, s.p.CA())
			s.requote()
		}, dcap.StagePCKExtensions, dcap.ReasonMissing},
		{"SGX extension with six entries", func(s *scene) {
			s.extension(func(e []sgxsim.SGXEntry) []sgxsim.SGXEntry { return e[:6] })
		}, dcap.StagePCKExtensions, dcap.ReasonCount},
		{"FMSPC twice", func(s *scene) {
			s.extension(func(e []sgxsim.SGXEntry) []sgxsim.SGXEntry { e[0] = e[3]; return e })
		}, dcap.StagePCKExtensions, dcap.ReasonDuplicate},
		{"TCB with 17 entries", func(s *scene) {
			s.extension(func(e []sgxsim.SGXEntry) []sgxsim.SGXEntry {
				s.must(e[1].SetInner(must(e[1].Inner())(s)[1:]))
				return e
			})
		}, dcap.StagePCKExtensions, dcap.ReasonCount},
		{"component 256", func(s *scene) {
			s.p.Machine.Components[0] = 256
			s.extension(func(e []sgxsim.SGXEntry) []sgxsim.SGXEntry { return e })
		}, dcap.StagePCKExtensions, dcap.ReasonRange},
		{"FMSPC of seven bytes", func(s *scene) {
			s.p.Machine.FMSPC = append(s.p.Machine.FMSPC, 0)
			s.extension(func(e []sgxsim.SGXEntry) []sgxsim.SGXEntry { return e })
		}, dcap.StagePCKExtensions, dcap.ReasonLength},
		{"platform below every level", func(s *scene) {
			s.p.Machine.Components[0] = 0
			s.extension(func(e []sgxsim.SGXEntry) []sgxsim.SGXEntry { return e })
		}, dcap.StageTCBLevel, dcap.ReasonNotSupported},
		{"PCK revoked", func(s *scene) {
			s.crl("platform", func(c *sgxsim.CRL) { c.Revoked = []*big.Int{s.p.PCK.Certificate.Serial} })
		}, dcap.StagePCKCRL, dcap.ReasonRevoked},
		{"PCK CA revoked", func(s *scene) {
			s.rootCRL(func(c *sgxsim.CRL) { c.Revoked = []*big.Int{s.p.PlatformCA.Certificate.Serial} })
		}, dcap.StageRootCRL, dcap.ReasonRevoked},
		{"TCB signer revoked", func(s *scene) {
			s.rootCRL(func(c *sgxsim.CRL) { c.Revoked = []*big.Int{s.p.TCBSigner.Certificate.Serial} })
		}, dcap.StageTCBInfo, dcap.ReasonRevoked},
		{"CRL of the other CA", func(s *scene) {
			c := must(s.p.PCKCRL(now, "processor"))(s)
			s.c.PCKCRL = must(c.DER(s.p.ProcessorCA.Key))(s)
		}, dcap.StagePCKCRL, dcap.ReasonUnknownIssuer},
		{"CRL without number", func(s *scene) {
			s.crl("platform", func(c *sgxsim.CRL) { c.Remove(sgxsim.OIDCRLNumber) })
		}, dcap.StagePCKCRL, dcap.ReasonExtensions},
		{"CRL entry with an unknown critical extension", func(s *scene) {
			s.crl("platform", func(c *sgxsim.CRL) {
				c.Revoked = []*big.Int{big.NewInt(1)}
				c.EntryExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
			})
		}, dcap.StagePCKCRL, dcap.ReasonExtensions},
		{"CRL of another revoked certificate", func(s *scene) {
			s.crl("platform", func(c *sgxsim.CRL) { c.Revoked = []*big.Int{big.NewInt(1)} })
		}, "", ""},
		{"CRL expired", func(s *scene) {
			s.crl("platform", func(c *sgxsim.CRL) { c.NextUpdate = now.Add(-time.Second) })
		}, dcap.StagePCKCRL, dcap.ReasonExpired},
		{"CRL without an end", func(s *scene) {
			s.rootCRL(func(c *sgxsim.CRL) { c.NoNextUpdate = true })
		}, dcap.StageRootCRL, ""},
		{"TCB info not signed by the signer", func(s *scene) {
			s.c.TCBInfo = must(s.p.TCBInfo(now, s.p.Standard).Sign(s.p.PCK))(s)
		}, dcap.StageTCBInfo, dcap.ReasonSignature},
		{"TCB info of another platform", func(s *scene) {
			s.tcbInfo(`"fmspc":"00606A000000"`, `"fmspc":"00906ED50000"`)
		}, dcap.StageTCBLevel, dcap.ReasonMismatch},
		{"member of the wrong type", func(s *scene) { s.tcbInfo(`"tcbType":0`, `"tcbType":"0"`) }, dcap.StageTCBInfo, ""},
		{"unknown status", func(s *scene) { s.tcbInfo("SWHardeningNeeded", "Fine") }, dcap.StageTCBInfo, dcap.ReasonStatus},
		{"QE identity of a QVE", func(s *scene) {
			s.qeIdentity(func(q *sgxsim.QEIdentity) { q.ID = "QVE" })
		}, dcap.StageQEIdentity, ""},
		{"QE identity with another mask", func(s *scene) {
			s.qeIdentity(func(q *sgxsim.QEIdentity) { q.Attributes[0] |= 4 })
		}, dcap.StageQEReport, dcap.ReasonIdentityMismatch},
		{"QE identity from tomorrow", func(s *scene) {
			s.qeIdentity(func(q *sgxsim.QEIdentity) { q.IssueDate = now.Add(day) })
		}, dcap.StageQEIdentity, dcap.ReasonNotYetValid},
		{"QE identity missing", func(s *scene) { s.c.QEIdentity = nil }, dcap.StageCollateralMissing, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlatform(t, sgxsim.Options{})
			trusted := roots(t, p)
			s := &scene{t, p, must(p.NewQuote(identity, [64]byte{9}))(t), must(p.Collateral(now))(t)}
			tt.change(s)
			_, err := dcap.Verify(s.q, (*dcap.Collateral)(s.c), dcap.VerifyOptions{At: now, Roots: trusted})
			var e *dcap.Error
			switch {
			case tt.stage == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &e) || e.Stage != tt.stage || tt.reason != "" && e.Reason != tt.reason:
				t.Errorf("error %v, want %s, %s", err, tt.stage, tt.reason)
			}
		})
	}
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// TestStatuses sets every status of platform and QE.
func TestStatuses(t *testing.T) {
	for _, status := range dcap.Statuses() {
		p := newPlatform(t, sgxsim.Options{})
		p.Standard.Levels[0].Status = string(status)
		v, err := verify(t, p, makeQuote(t, p, identity), now)
		if err != nil {
			t.Errorf("%s: %v", status, err)
			continue
		}
		if v.PlatformStatus != status {
			t.Errorf("status %v, want %v", v.PlatformStatus, status)
		}
	}
	p := newPlatform(t, sgxsim.Options{})
	p.QE.ISVSVN = 7
	v, err := verify(t, p, makeQuote(t, p, identity), now)
	if err != nil {
		t.Fatal(err)
	}
	if v.QEStatus != dcap.StatusOutOfDate || v.Status != dcap.StatusOutOfDate {
		t.Errorf("QE status %v, status %v", v.QEStatus, v.Status)
	}
}

// TestVersion2 is what API v3 served.
func TestVersion2(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	c := must(p.Collateral(now))(t)
	info := p.TCBInfo(now, p.Standard)
	info.Version = 2
	c.TCBInfo = must(info.Sign(p.TCBSigner))(t)
	v, err := dcap.Verify(makeQuote(t, p, identity), (*dcap.Collateral)(c), dcap.VerifyOptions{At: now, Roots: roots(t, p)})
	if err != nil {
		t.Fatal(err)
	}
	if v.TCBInfoVersion != 2 || v.Status != dcap.StatusSWHardeningNeeded || len(v.Advisories) != 0 {
		t.Errorf("version %d, status %v, advisories %q", v.TCBInfoVersion, v.Status, v.Advisories)
	}
}

// TestQuoterChange alters a quote on its way out.
func TestQuoterChange(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	q := p.Quoter(identity)
	q.Change = func(q *quote.Quote) error { q.Body.ISVSVN = 99; return nil }
	parsed := must(quote.Parse(must(q.Quote(t.Context(), [64]byte{}))(t)))(t)
	if parsed.Body.ISVSVN != 99 {
		t.Errorf("ISVSVN %d, want 99", parsed.Body.ISVSVN)
	}
	q.Change = func(*quote.Quote) error { return errors.New("no") }
	if _, err := q.Quote(t.Context(), [64]byte{}); err == nil || err.Error() != "change quote: no" {
		t.Errorf("error %v", err)
	}
}

func TestInnerRefuses(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	entries := must(p.Machine.Extension().Entries())(t)
	if _, err := entries[0].Inner(); err == nil {
		t.Error("the PPID was taken for a list of pairs")
	}
}
