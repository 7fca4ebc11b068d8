package dcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func (l *lab) verifier() *dcap.Verifier {
	v, err := dcap.NewVerifier(l.roots)
	l.must(err)
	return v
}

// TestWarmVerifierLooksAtTheClock verifies evidence, and the same again after something in it has expired.
func TestWarmVerifierLooksAtTheClock(t *testing.T) {
	soon := labTime.Add(time.Hour)
	for _, test := range []struct {
		name string
		make func(*lab)
		want string
	}{
		{"root", certify("root", func(_ *lab, c *sgxsim.Certificate) { c.NotAfter = soon }), "pck_chain/expired"},
		{"PCK CA", certify("intermediate", func(_ *lab, c *sgxsim.Certificate) { c.NotAfter = soon }), "pck_chain/expired"},
		{"PCK certificate", certify("leaf", func(_ *lab, c *sgxsim.Certificate) { c.NotAfter = soon }), "pck_chain/expired"},
		{"root CRL", func(l *lab) { l.rootCRL(func(c *sgxsim.CRL) { c.NextUpdate = soon }) }, "root_crl/expired"},
		{"PCK CRL", func(l *lab) { l.pckCRL(func(c *sgxsim.CRL) { c.NextUpdate = soon }) }, "pck_crl/expired"},
		{"PCK CRL's issuer", func(l *lab) {
			// Another certificate of the same CA, with the same key and a shorter life.
			c := *l.p.CA().Certificate
			c.NotAfter = soon
			short := &sgxsim.Authority{Certificate: &c}
			l.resign(short, l.p.Root)
			l.collateral().PCKCRLIssuerChain = append(short.PEM(), l.p.RootPEM()...)
		}, "pck_crl/signing_chain_expired"},
		{"TCB info", func(l *lab) { l.tcbInfo(func(i *sgxsim.TCBInfo) { i.NextUpdate = soon }) }, "tcb_info/expired"},
		{"QE identity", func(l *lab) { l.qeIdentity(func(i *sgxsim.QEIdentity) { i.NextUpdate = soon }) }, "qe_identity/expired"},
		{"TCB signer", func(l *lab) {
			l.p.TCBSigner.Certificate.NotAfter = soon
			l.resign(l.p.TCBSigner, l.p.Root)
		}, "tcb_info/signing_chain_expired"},
		{"QE identity's signer", func(l *lab) {
			c := *l.p.TCBSigner.Certificate
			c.NotAfter = soon
			short := &sgxsim.Authority{Certificate: &c}
			l.resign(short, l.p.Root)
			l.collateral().QEIdentityIssuerChain = append(short.PEM(), l.p.RootPEM()...)
		}, "qe_identity/signing_chain_expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, "")
			test.make(l)
			v := l.verifier()
			for _, step := range []struct {
				at   time.Time
				want string
			}{{labTime, "ok"}, {soon, "ok"}, {soon.Add(time.Second), test.want}, {soon, "ok"}} {
				l.at = step.at
				verdict, err := l.verify(v)
				if code(err) != step.want {
					t.Fatalf("at %s: %s, want %s (%v)", step.at, code(err), step.want, err)
				}
				if err == nil && !verdict.EarliestExpiry.Equal(soon) {
					t.Errorf("earliest expiry %s of %s, want %s", verdict.EarliestExpiry, verdict.EarliestExpiryOf, soon)
				}
			}
		})
	}
}

// TestWarmVerifierSeesNewCollateral gives a verifier that has seen a platform the news about it.
func TestWarmVerifierSeesNewCollateral(t *testing.T) {
	for _, test := range []struct {
		name string
		news func(*lab)
		want string
	}{
		{"PCK certificate revoked", func(l *lab) { l.pckCRL(func(c *sgxsim.CRL) { c.Revoked = revoked(l.p.PCK) }) }, "pck_crl/revoked"},
		{"PCK CA revoked", func(l *lab) { l.rootCRL(func(c *sgxsim.CRL) { c.Revoked = revoked(l.p.CA()) }) }, "root_crl/revoked"},
		{"TCB signer revoked", func(l *lab) { l.rootCRL(func(c *sgxsim.CRL) { c.Revoked = revoked(l.p.TCBSigner) }) }, "tcb_info/revoked"},
		{"other TCB info", func(l *lab) { l.tcbText("00606A000000", "00906ED50000") }, "tcb_level/mismatch"},
		{"other QE identity", func(l *lab) { l.qeIdentity(func(q *sgxsim.QEIdentity) { q.ISVProdID = 3 }) }, "qe_report/identity_mismatch"},
		{"the documents' chain damaged", func(l *lab) { l.collateral().QEIdentityIssuerChain = []byte("x") }, "qe_identity/signing_chain"},
		{"the pieces swapped", func(l *lab) { c := l.collateral(); c.TCBInfo, c.QEIdentity = c.QEIdentity, c.TCBInfo }, "tcb_info/format"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, "")
			v := l.verifier()
			if _, err := l.verify(v); err != nil {
				t.Fatal(err)
			}
			old := *l.collateral()
			test.news(l)
			if _, err := l.verify(v); code(err) != test.want {
				t.Fatalf("outcome %s, want %s (%v)", code(err), test.want, err)
			}
			l.c = &old
			if _, err := l.verify(v); err != nil {
				t.Fatalf("the old collateral again: %v", err)
			}
		})
	}
}

// TestVerifierKeepsPlatformsApart mixes quotes and collateral of two platforms that a verifier knows both of.
func TestVerifierKeepsPlatformsApart(t *testing.T) {
	a, b := newLab(t, ""), newLab(t, "")
	a.trust(a.p, b.p)
	b.roots = a.roots
	v := a.verifier()
	for _, l := range []*lab{a, b} {
		if _, err := l.verify(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		swap func(from, to *dcap.Collateral)
		want string
	}{
		{"all", func(from, to *dcap.Collateral) { *to = *from }, "root_crl/signature"},
		{"root CRL", func(from, to *dcap.Collateral) { to.RootCACRL = from.RootCACRL }, "root_crl/signature"},
		{"PCK CRL", func(from, to *dcap.Collateral) { to.PCKCRL = from.PCKCRL }, "pck_crl/signature"},
		{"PCK CRL chain", func(from, to *dcap.Collateral) { to.PCKCRLIssuerChain = from.PCKCRLIssuerChain }, "pck_crl/unknown_issuer"},
		{"TCB info", func(from, to *dcap.Collateral) { to.TCBInfo = from.TCBInfo }, "tcb_info/signature"},
		{"TCB info and chain", func(from, to *dcap.Collateral) {
			to.TCBInfo, to.TCBInfoIssuerChain = from.TCBInfo, from.TCBInfoIssuerChain
		}, "tcb_info/untrusted_root"},
		{"both documents", func(from, to *dcap.Collateral) {
			to.TCBInfo, to.TCBInfoIssuerChain = from.TCBInfo, from.TCBInfoIssuerChain
			to.QEIdentity, to.QEIdentityIssuerChain = from.QEIdentity, from.QEIdentityIssuerChain
		}, "tcb_info/untrusted_root"},
		{"QE identity and chain", func(from, to *dcap.Collateral) {
			to.QEIdentity, to.QEIdentityIssuerChain = from.QEIdentity, from.QEIdentityIssuerChain
		}, "qe_identity/untrusted_root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			own := *b.collateral()
			defer func() { b.c = &own }()
			mixed := own
			test.swap(a.collateral(), &mixed)
			b.c = &mixed
			if _, err := b.verify(v); code(err) != test.want {
				t.Errorf("outcome %s, want %s (%v)", code(err), test.want, err)
			}
		})
	}
}

// TestVerifierCAChange verifies collateral of one PCK CA with a quote of the other under the same root.
func TestVerifierCAChange(t *testing.T) {
	l := newLab(t, "")
	v := l.verifier()
	if _, err := l.verify(v); err != nil {
		t.Fatal(err)
	}
	c := l.collateral()
	l.p.Machine.CA = sgxsim.CAProcessor
	value, err := l.p.Machine.Extension().Marshal()
	l.must(err)
	l.p.PCK.Certificate.Extension(sgxsim.OIDSGX).Value = value
	l.p.PCK.Certificate.Issuer = l.p.ProcessorCA.Certificate.Subject
	l.resign(l.p.PCK, l.p.ProcessorCA)
	l.q, l.c = nil, c
	if _, err := l.verify(v); code(err) != "pck_crl/unknown_issuer" {
		t.Errorf("outcome %s (%v)", code(err), err)
	}
	l.c = nil
	if _, err := l.verify(v); err != nil {
		t.Errorf("with the other CA's CRL: %v", err)
	}
}

// TestVerdictsAreIndependent changes all that a verdict points to.
func TestVerdictsAreIndependent(t *testing.T) {
	l := newLab(t, "")
	l.p.Standard.QELevels[0].Advisories = []string{"INTEL-SA-00001"}
	v := l.verifier()
	first, err := l.verify(v)
	l.must(err)
	before, err := l.verify(v)
	l.must(err)
	for _, list := range [][]string{first.Advisories, first.PlatformAdvisories, first.QEAdvisories} {
		clear(list)
	}
	*first.PCK.Configuration = dcap.PCKConfiguration{}
	after, err := l.verify(v)
	l.must(err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a verdict changed with another:\n%s", diff)
	}
}

func TestVerdict(t *testing.T) {
	l := newLab(t, "")
	v, err := l.verify(nil)
	l.must(err)
	day := labTime.Truncate(24 * time.Hour)
	want := &dcap.Verdict{
		At: labTime, Status: dcap.StatusSWHardeningNeeded, PlatformStatus: dcap.StatusSWHardeningNeeded, QEStatus: dcap.StatusUpToDate,
		Advisories: []string{"INTEL-SA-00615"}, PlatformAdvisories: []string{"INTEL-SA-00615"}, QEAdvisories: nil,
		TCBDate: time.Date(2024, 3, 13, 0, 0, 0, 0, time.UTC), QETCBDate: time.Date(2024, 3, 13, 0, 0, 0, 0, time.UTC),
		TCBInfoVersion: 3, EvaluationNumber: 17, TCBInfoEvaluationNumber: 17, QEIdentityEvaluationNumber: 17,
		TCBInfoIssued: day, QEIdentityIssued: day, RootCRLIssued: day, PCKCRLIssued: day,
		EarliestExpiry: day.AddDate(0, 0, 30), EarliestExpiryOf: "PCK CRL",
		PCK: dcap.PCK{
			FMSPC: dcap.FMSPC{0, 0x60, 0x6a}, CA: dcap.CAPlatform, Components: [16]uint8{12, 12, 3, 3, 255, 255, 1}, PCESVN: 13,
			CPUSVN: [16]byte{12, 12, 3, 3, 255, 255, 1}, SGXType: dcap.SGXScalable,
			Configuration: &dcap.PCKConfiguration{DynamicPlatform: true, CachedKeys: true, SMTEnabled: true},
		},
		Report: l.q.Body, QE: l.q.QEReport, Simulated: true, RootFingerprint: v.RootFingerprint,
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if v.RootFingerprint == [32]byte{} {
		t.Error("no root fingerprint")
	}
	checked, err := dcap.CheckEvidence(l.q, dcap.VerifyOptions{At: l.at, Roots: l.roots})
	l.must(err)
	platform := checked.Platform()
	if diff := cmp.Diff(v.Platform(), *platform); diff != "" {
		t.Errorf("platform of the verdict and of the evidence:\n%s", diff)
	}
	if want := (dcap.Platform{FMSPC: dcap.FMSPC{0, 0x60, 0x6a}, CA: "platform", Simulated: true}); *platform != want {
		t.Errorf("platform %+v, want %+v", *platform, want)
	}
}

// TestCheckEvidence tells what is refused before collateral is fetched from what is left to Verify.
func TestCheckEvidence(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(*lab)
		want string
	}{
		{"good", nil, "ok"},
		{"untrusted", func(l *lab) { l.roots = nil }, "pck_chain/untrusted_root"},
		{"expired", func(l *lab) { l.at = labTime.AddDate(40, 0, 0) }, "pck_chain/expired"},
		{"no chain", func(l *lab) { l.quote().CertificationType = quote.CertPPIDRSA3072 }, "quote_format/certification_data_type"},
		{"another version", func(l *lab) { l.quote().Header.Version = 4 }, "quote_format/version"},
		{"extension", func(l *lab) { l.extension(nil) }, "pck_extensions/format"},
		{"QE report", func(l *lab) { l.quote().QEReport.ISVSVN++ }, "qe_report/signature"},
		{"binding", func(l *lab) { l.quote().QEAuthData[0]++ }, "binding/report_data"},
		{"signature", func(l *lab) { l.quote().Body.MRENCLAVE[0]++ }, "quote_signature/signature"},
		{"bad root", func(l *lab) { l.p.Root = l.p.PCK; l.trust(l.p) }, "config"},
		{"no quote", func(l *lab) { l.q = &quote.Quote{} }, "quote_format/version"},
		{"revoked: not looked at", func(l *lab) { l.p.RevokedPCK = revoked(l.p.PCK) }, "ok"},
		{"another enclave than the QE: not looked at", func(l *lab) { l.quote().QEReport.ISVProdID = 9; l.signReport() }, "ok"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, "")
			if test.make != nil {
				test.make(l)
			}
			checked, err := dcap.CheckEvidence(l.quote(), dcap.VerifyOptions{At: l.at, Roots: l.roots})
			if code(err) != test.want || (checked.Platform() == nil) != (err != nil) {
				t.Errorf("outcome %s, platform %v, want %s (%v)", code(err), checked.Platform(), test.want, err)
			}
		})
	}
	if _, err := dcap.CheckEvidence(nil, dcap.VerifyOptions{At: labTime}); code(err) != "quote_format/missing" {
		t.Errorf("nil quote: %v", err)
	}
	if _, err := dcap.Verify(newLab(t, "").quote(), nil, dcap.VerifyOptions{At: labTime}); code(err) != "collateral_missing/tcb_info" {
		t.Errorf("nil collateral: %v", err)
	}
}

// TestCheckedEvidenceLater concludes at other times than the evidence was checked for.
func TestCheckedEvidenceLater(t *testing.T) {
	l := newLab(t, "")
	end := labTime.Add(time.Hour)
	l.p.PCK.Certificate.NotAfter = end
	l.resign(l.p.PCK, l.p.CA())
	checked, err := l.verifier().CheckEvidence(l.quote(), labTime)
	l.must(err)
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{end, "ok"},
		{end.Add(time.Second), "pck_chain/expired"},
		{labTime.AddDate(-20, 0, 0), "pck_chain/not_yet_valid"},
		{labTime.Add(-24 * time.Hour), "root_crl/not_yet_valid"},
		{time.Time{}, "config"},
	} {
		_, direct := dcap.Verify(l.quote(), l.collateral(), dcap.VerifyOptions{At: test.at, Roots: l.roots})
		_, err := checked.Verify(l.collateral(), test.at)
		if code(err) != test.want || fmt.Sprint(err) != fmt.Sprint(direct) {
			t.Errorf("at %s: %v, in one step %v, want %s", test.at, err, direct, test.want)
		}
	}
}

// TestChainIsRememberedOnce writes one PCK chain in many ways: it takes one place among the platforms that a verifier
// remembers, and what is not the same chain is not taken for it.
func TestChainIsRememberedOnce(t *testing.T) {
	l := newLab(t, "")
	v := l.verifier()
	good := slices.Clone(l.quote().CertificationData)
	for i := range 40 {
		space := strings.Repeat(" ", i%8) + strings.Repeat("\n", i/8)
		l.chain([]byte(space), bytes.ReplaceAll(good, []byte("\n-----BEGIN"), []byte("\n"+space+"-----BEGIN")))
		if _, err := l.verify(v); err != nil {
			t.Fatal(err)
		}
	}
	if n := dcap.Platforms(v); n != 1 {
		t.Errorf("one chain takes %d places", n)
	}
	other := newLab(t, "")
	for _, test := range []struct {
		name  string
		parts [][]byte
		want  string
	}{
		{"text after it", [][]byte{l.p.PCK.PEM(), l.p.CA().PEM(), l.p.RootPEM(), []byte("x")}, "pck_chain/format"},
		{"another root after the same leaf", [][]byte{l.p.PCK.PEM(), l.p.CA().PEM(), other.p.RootPEM()}, "pck_chain/signature"},
		{"another CA after the same leaf", [][]byte{l.p.PCK.PEM(), other.p.CA().PEM(), l.p.RootPEM()}, "pck_chain/signature"},
		{"a fourth certificate", [][]byte{l.p.PCK.PEM(), l.p.CA().PEM(), l.p.RootPEM(), l.p.RootPEM()}, "pck_chain/count"},
	} {
		l.chain(test.parts...)
		if _, err := l.verify(v); code(err) != test.want {
			t.Errorf("%s: %s, want %s (%v)", test.name, code(err), test.want, err)
		}
	}
	if n := dcap.Platforms(v); n != 1 {
		t.Errorf("refused chains take %d places", n-1)
	}
}

// TestReadPCK reads what it can, whoever signed it.
func TestReadPCK(t *testing.T) {
	l := newLab(t, "")
	l.quote().Body.MRENCLAVE[0]++
	pck, certs, err := dcap.ReadPCK(l.quote())
	if err != nil || len(certs) != 3 || pck.FMSPC.String() != "00606A000000" || pck.CA != dcap.CAPlatform {
		t.Errorf("%+v, %d certificates, %v", pck, len(certs), err)
	}
	for _, test := range []struct {
		name  string
		make  func(*lab)
		want  string
		certs int
	}{
		{"no chain", func(l *lab) { l.quote().CertificationType = 3 }, "quote_format/certification_data_type", 0},
		{"no PEM", func(l *lab) { l.chain([]byte("x")) }, "pck_chain/format", 0},
		{"no extension", func(l *lab) { l.extension(nil) }, "pck_extensions/format", 3},
	} {
		l := newLab(t, "")
		test.make(l)
		pck, certs, err := dcap.ReadPCK(l.quote())
		if code(err) != test.want || pck != nil || len(certs) != test.certs {
			t.Errorf("%s: %s, %d certificates", test.name, code(err), len(certs))
		}
	}
}

// TestConcurrentVerification has many goroutines verify good and bad evidence with one verifier.
func TestConcurrentVerification(t *testing.T) {
	good, tampered, revokedOne := newLab(t, ""), newLab(t, ""), newLab(t, "")
	tampered.quote().Body.ISVSVN++
	revokedOne.p.RevokedPCK = []*big.Int{revokedOne.p.PCK.Certificate.Serial}
	good.trust(good.p, tampered.p, revokedOne.p)
	v := good.verifier()
	type item struct {
		q    *quote.Quote
		c    *dcap.Collateral
		want string
	}
	items := []item{
		{good.quote(), good.collateral(), "ok"},
		{tampered.quote(), tampered.collateral(), "quote_signature/signature"},
		{revokedOne.quote(), revokedOne.collateral(), "pck_crl/revoked"},
		{good.quote(), tampered.collateral(), "root_crl/signature"},
	}
	var wg sync.WaitGroup
	failures := make(chan string, 1)
	for g := range 20 {
		wg.Go(func() {
			for i := range 20 {
				it := items[(g+i)%len(items)]
				if _, err := v.Verify(it.q, it.c, labTime); code(err) != it.want {
					select {
					case failures <- fmt.Sprintf("%s, want %s", code(err), it.want):
					default:
					}
				}
			}
		})
	}
	wg.Wait()
	select {
	case f := <-failures:
		t.Error(f)
	default:
	}
}

// TestErrorTexts reads refusals as a person would: the check, what was found, what was wanted, what to do.
func TestErrorTexts(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(*lab)
		want string
	}{
		{"tampered", func(l *lab) { l.quote().Body.MRENCLAVE[0]++ },
			"verify quote: quote_signature: quote: found a signature that the attestation key did not make over header and report; the quote has been altered or damaged: take a new one"},
		{"not Intel's root", func(l *lab) { l.roots = nil },
			"verify quote: pck_chain: PCK chain: found root CC SIMULATED SGX Root CA - NOT INTEL, key KEY, want Intel's root key a0af031289f5d5d4; use evidence under the trusted root; name another root only for a simulated platform"},
		{"another given root", func(l *lab) { l.trust(newLab(l.tb, "").p) },
			"want the trusted root CC SIMULATED SGX Root CA - NOT INTEL, key KEY; use"},
		{"two given roots", func(l *lab) { l.trust(newLab(l.tb, "").p, newLab(l.tb, "").p) }, "want one of 2 trusted roots; use"},
		{"CRL expired", func(l *lab) { l.at = labTime.AddDate(0, 0, 30) },
			"verify quote: pck_crl: PCK CRL: found one that expired on 2026-04-09T00:00:00Z, want one that is valid at 2026-04-09T12:00:00Z; fetch the collateral again; if that does not help, from another service, and check the clock"},
		{"too early", func(l *lab) { l.rootCRL(func(c *sgxsim.CRL) { c.ThisUpdate = labTime.Add(time.Minute) }) },
			"root_crl: root CA CRL: found one that is valid from 2026-03-10T12:01:00Z on, want one that is valid at 2026-03-10T12:00:00Z; fetch the collateral again; if that does not help, from another service, and check the clock"},
		{"revoked", func(l *lab) { l.p.RevokedPCK = revoked(l.p.PCK) },
			"in the PCK CRL of 2026-03-10T00:00:00Z, want a certificate that is not revoked; do not use this platform until its vendor has re-provisioned it"},
		{"missing", func(l *lab) { l.collateral().QEIdentity = nil },
			"verify quote: collateral_missing: collateral: found no qe_identity, want all seven pieces; fetch the collateral of the platform's FMSPC from a PCCS or from Intel"},
		{"type 3", func(l *lab) { l.quote().CertificationType = 3 },
			"verify quote: quote_format: certification data: found PPID encrypted with RSA-3072 (type 3), want PCK certificate chain (type 5); let the platform's quote provider library reach a PCCS"},
		{"another family", func(l *lab) { l.tcbText("00606A000000", "00906ED50000") },
			"verify quote: tcb_level: TCB info: fmspc: found 00906ED50000, want 00606A000000 of the PCK certificate; fetch the TCB info for the FMSPC of this quote"},
		{"another PCE", func(l *lab) { l.tcbText(`"pceId":"0000"`, `"pceId":"0001"`) }, "TCB info: pceId: found 0001, want 0000 of the PCK certificate"},
		{"below all levels", func(l *lab) { having(l, 1, 1) },
			"tcb_level: platform: found components [1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0], PCESVN 1, below every TCB level, want at least the lowest level of the TCB info; update the platform's BIOS and microcode"},
		{"QE below all levels", func(l *lab) { l.p.QE.ISVSVN = 2 },
			"tcb_level: quoting enclave: found ISVSVN 2, below every level of the QE identity, want at least 6; update the platform software"},
		{"reformatted", func(l *lab) {
			l.c = l.collateral()
			l.c.TCBInfo = l.replace(l.c.TCBInfo, `"version":3`, `"version": 3`)
		},
			"tcb_info: TCB info: found a signature that \"CC SIMULATED SGX TCB Signing - NOT INTEL\" did not make over these bytes; fetch it again and keep its bytes as served"},
		{"number out of range", func(l *lab) { l.tcbText(`"svn":12`, `"svn":256`) },
			"tcb_info: TCB info: tcbLevels[0].tcb.sgxtcbcomponents[0].svn: found 256, want a number from 0 to 255"},
		{"a member missing", func(l *lab) { l.tcbText(`"tcbDate"`, `"date"`) }, "TCB info: tcbLevels[0].tcbDate: found nothing, want a date like 2006-01-02T15:04:05Z"},
		{"a status word", func(l *lab) { l.qeText(`"OutOfDate"`, `"SWHardeningNeeded"`) }, `QE identity: tcbLevels[1].tcbStatus: found "SWHardeningNeed, want a TCB status`},
		{"an HTML page", func(l *lab) { l.collateral().TCBInfo = []byte("<html>") },
			`tcb_info: TCB info: found text beginning with "<html>" that is not JSON, want an object with "tcbInfo" and "signature" and nothing else`},
		{"wrong order", func(l *lab) { l.chain(l.p.RootPEM(), l.p.CA().PEM(), l.p.PCK.PEM()) },
			`pck_chain: PCK chain: root CA: found "CC SIMULATED SGX PCK Certificate - NOT INTEL" issued by "CC SIMULATED SGX PCK Platform CA - NOT INTEL", want a self-issued root CA as the last certificate`},
		{"no time", func(l *lab) { l.at = time.Time{} }, "verify quote: no time to verify for: set At"},
		{"extension", setTCB(3, 256), "pck_extensions: TCB component 04: found 256, want 0 to 255"},
		{"damaged CRL", func(l *lab) { l.collateral().PCKCRL = []byte("<html>") }, `pck_crl: PCK CRL: want a CRL in DER, PEM or hex of DER: it begins with "<html>"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, "")
			test.make(l)
			_, err := l.verify(nil)
			if err == nil {
				t.Fatal("accepted")
			}
			got := err.Error()
			for _, word := range strings.Fields(got) { // keys are made anew each time
				if digits := strings.Trim(word, ",;"); len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == "" && digits != "a0af031289f5d5d4" {
					got = strings.ReplaceAll(got, digits, "KEY")
				}
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("error\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestErrorForms(t *testing.T) {
	cause := errors.New("cause")
	for _, test := range []struct {
		err  dcap.Error
		want string
	}{
		{dcap.Error{Stage: "s", What: "w"}, "s: w"},
		{dcap.Error{Stage: "s", What: "w", Got: "g"}, "s: w: found g"},
		{dcap.Error{Stage: "s", What: "w", Want: "x"}, "s: w: want x"},
		{dcap.Error{Stage: "s", What: "w", Got: "g", Want: "x", Err: cause, Remedy: "r"}, "s: w: found g, want x: cause; r"},
	} {
		if test.err.Error() != test.want {
			t.Errorf("%q, want %q", test.err.Error(), test.want)
		}
	}
	if err := error(&dcap.Error{Err: cause}); !errors.Is(err, cause) {
		t.Error("the cause cannot be unwrapped")
	}
}

// TestNewVerifierTexts reads what is said of roots that cannot be trusted.
func TestNewVerifierTexts(t *testing.T) {
	l := newLab(t, "")
	_, err := dcap.ParseRoots(l.p.CA().PEM())
	if want := "parse trusted roots: trusted root 1 ("; err == nil || !strings.HasPrefix(err.Error(), want) ||
		!strings.Contains(err.Error(), "and not by itself, want the self-issued root certificate") {
		t.Errorf("error %v", err)
	}
	two, err := dcap.ParseRoots(bytes.Join([][]byte{l.p.RootPEM(), newLab(t, "").p.RootPEM()}, nil))
	if err != nil || len(two) != 2 {
		t.Errorf("two roots: %v", err)
	}
}
