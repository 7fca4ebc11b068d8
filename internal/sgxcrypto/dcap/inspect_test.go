package dcap_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// parts writes an inspection as lines: the name, and the outcome or the dates.
func parts(i *dcap.Inspection) []string {
	var lines []string
	for _, p := range i.Parts {
		outcome := code(p.Err)
		if p.Err == nil {
			outcome = p.Issued.Format(time.DateOnly) + " to " + p.Expires.Format(time.DateOnly)
		} else if !p.Issued.IsZero() || !p.Expires.IsZero() {
			outcome += " with dates"
		}
		lines = append(lines, p.Name+": "+outcome)
	}
	return lines
}

func TestInspectCollateral(t *testing.T) {
	good := []string{
		"TCB info: 2026-03-10 to 2026-04-09", "TCB info signing chain: 2025-03-10 to 2032-03-08",
		"QE identity: 2026-03-10 to 2026-04-09", "QE identity signing chain: 2025-03-10 to 2032-03-08",
		"PCK CRL: 2026-03-10 to 2026-04-09", "PCK CRL issuer chain: 2018-03-12 to 2033-03-08",
		"root CA CRL: 2026-03-10 to 2027-03-10",
	}
	// change replaces lines of the good inspection; an empty one takes it out.
	type change map[string]string
	for _, test := range []struct {
		name string
		make func(*lab)
		want change
	}{
		{"good", nil, nil},
		{"no TCB info", func(l *lab) { l.collateral().TCBInfo = nil }, change{"TCB info": "", "TCB info signing chain": ""}},
		{"TCB info forged", func(l *lab) { l.collateral().TCBInfo[40] ^= 1 }, change{"TCB info": "tcb_info/signature", "TCB info signing chain": ""}},
		{"QE identity of another enclave", func(l *lab) { l.qeText(`"QE"`, `"QVE"`) },
			change{"QE identity": "qe_identity/mismatch", "QE identity signing chain": ""}},
		{"PCK CRL of another CA", func(l *lab) { otherCA(l, l.p) }, change{"PCK CRL": "pck_crl/unknown_issuer"}},
		{"PCK CRL without its chain", func(l *lab) { l.collateral().PCKCRLIssuerChain = nil },
			change{"PCK CRL": "", "PCK CRL issuer chain": "pck_crl/signing_chain"}},
		{"signer revoked", func(l *lab) { l.p.RevokedByRoot = revoked(l.p.TCBSigner) },
			change{"TCB info signing chain": "root_crl/revoked", "QE identity signing chain": "root_crl/revoked"}},
		{"PCK CA revoked", func(l *lab) { l.p.RevokedByRoot = revoked(l.p.PlatformCA) }, change{"PCK CRL issuer chain": "root_crl/revoked"}},
		{"another root", func(l *lab) { l.trust(newLab(l.tb, "").p) }, change{
			"TCB info": "tcb_info/untrusted_root", "TCB info signing chain": "",
			"QE identity": "qe_identity/untrusted_root", "QE identity signing chain": "",
			"PCK CRL": "", "PCK CRL issuer chain": "pck_crl/untrusted_root", "root CA CRL": "",
		}},
		{"root CRL alone", func(l *lab) { l.c = &dcap.Collateral{RootCACRL: l.collateral().RootCACRL} }, change{
			"TCB info": "", "TCB info signing chain": "", "QE identity": "", "QE identity signing chain": "", "PCK CRL": "", "PCK CRL issuer chain": "",
			"root CA CRL": "root_crl/unknown_issuer",
		}},
		{"root CRL of another", func(l *lab) { l.collateral().RootCACRL = newLab(l.tb, "").collateral().RootCACRL }, change{"root CA CRL": "root_crl/signature"}},
		{"nothing", func(l *lab) { l.c = &dcap.Collateral{} }, change{
			"TCB info": "", "TCB info signing chain": "", "QE identity": "", "QE identity signing chain": "", "PCK CRL": "", "PCK CRL issuer chain": "", "root CA CRL": "",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, "")
			var want []string
			for _, line := range good {
				name, _, _ := strings.Cut(line, ":")
				switch now, changed := test.want[name]; {
				case !changed:
					want = append(want, line)
				case now != "":
					want = append(want, name+": "+now)
				}
			}
			if test.make != nil {
				test.make(l)
			}
			in, err := dcap.InspectCollateral(l.collateral(), l.roots)
			l.must(err)
			if diff := cmp.Diff(want, parts(in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			has := func(name string) bool {
				return slices.ContainsFunc(want, func(l string) bool { return strings.HasPrefix(l, name+": 2") })
			}
			if (in.TCBInfo != nil) != has("TCB info") || (in.QEIdentity != nil) != has("QE identity") {
				t.Errorf("summaries %v, %v", in.TCBInfo, in.QEIdentity)
			}
			for _, p := range in.Parts {
				if p.Err != nil && !strings.Contains(p.Err.Error(), ";") {
					t.Errorf("%v says nothing of what to do", p.Err)
				}
			}
		})
	}
	if _, err := dcap.InspectCollateral(&dcap.Collateral{}, []*x509.Certificate{}); code(err) != "config" {
		t.Errorf("no roots: %v", err)
	}
}

func TestInspectionLevels(t *testing.T) {
	l := newLab(t, "")
	in, err := dcap.InspectCollateral(l.collateral(), l.roots)
	l.must(err)
	if in.TCBInfo.Version != 3 || in.TCBInfo.FMSPC.String() != "00606A000000" || in.TCBInfo.EvaluationNumber != 17 || in.QEIdentity.EvaluationNumber != 17 {
		t.Errorf("TCB info %+v, QE identity %+v", in.TCBInfo, in.QEIdentity)
	}
	var got []string
	for _, level := range slices.Concat(in.TCBInfo.Levels, in.QEIdentity.Levels) {
		got = append(got, fmt.Sprintf("%v %d %d %s %v", level.Components[:4], level.PCESVN, level.ISVSVN, level.Status, level.Advisories))
	}
	var want []string
	for _, level := range l.p.Standard.Levels {
		want = append(want, fmt.Sprintf("%v %d 0 %s %v", level.Components[:4], level.PCESVN, level.Status, level.Advisories))
	}
	for _, level := range l.p.Standard.QELevels {
		want = append(want, fmt.Sprintf("[0 0 0 0] 0 %d %s %v", level.ISVSVN, level.Status, level.Advisories))
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 4 {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
}
