package dcap_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// wanted is a verdict and the policy that wants exactly it.
func wanted() (*dcap.Verdict, dcap.Policy) {
	prodID, svn, configSVN := uint16(7), uint16(8), uint16(3)
	v := &dcap.Verdict{
		At: labTime, Status: dcap.StatusSWHardeningNeeded, Advisories: []string{"INTEL-SA-00615"}, TCBInfoVersion: 3,
		TCBInfoEvaluationNumber: 17, QEIdentityEvaluationNumber: 18, EvaluationNumber: 17,
		TCBInfoIssued: labTime.Add(-5 * time.Hour), QEIdentityIssued: labTime.Add(-4 * time.Hour),
		PCK: dcap.PCK{FMSPC: dcap.FMSPC{0, 0x60, 0x6a}},
		Report: quote.ReportBody{
			MRENCLAVE: [32]byte{1}, MRSIGNER: [32]byte{2}, ISVProdID: prodID, ISVSVN: svn, MiscSelect: 1, ReportData: [64]byte{5, 6},
			ConfigID: [64]byte{3}, ConfigSVN: configSVN, ISVExtProdID: [16]byte{4}, ISVFamilyID: [16]byte{5},
			Attributes: quote.Attributes{Flags: quote.FlagInit | quote.FlagMode64Bit | quote.FlagKSS, XFRM: 0xe7},
		},
	}
	configID, extProdID, familyID := v.Report.ConfigID, v.Report.ISVExtProdID, v.Report.ISVFamilyID
	return v, dcap.Policy{
		AcceptStatuses: []dcap.Status{dcap.StatusUpToDate, dcap.StatusSWHardeningNeeded}, AcceptAdvisories: []string{"INTEL-SA-00615"},
		MinEvaluationNumber: 17, MaxCollateralAge: 5 * time.Hour, FMSPCs: []dcap.FMSPC{{0, 0x60, 0x6a}}, DenyFMSPCs: []dcap.FMSPC{{1}},
		MRENCLAVE: [][32]byte{{9}, {1}}, MRSIGNER: [][32]byte{{2}}, ISVProdID: &prodID, MinISVSVN: &svn,
		ConfigID: &configID, MinConfigSVN: &configSVN, ISVExtProdID: &extProdID, ISVFamilyID: &familyID,
		Attributes: quote.Attributes{Flags: quote.FlagKSS, XFRM: 0x7}, AttributesMask: quote.Attributes{Flags: quote.FlagKSS | 1<<20, XFRM: 0x7},
		MiscSelect: 1, MiscSelectMask: 3, ReportData: []byte{5, 6},
	}
}

func TestPolicyAcceptsWhatItWants(t *testing.T) {
	v, p := wanted()
	if err := p.Check(v); err != nil {
		t.Fatal(err)
	}
	findings := p.Explain(v)
	names := map[string]bool{}
	for _, f := range findings {
		if !f.OK || f.Want == "" || f.Got == "" || f.Remedy != "" || names[f.Check] {
			t.Errorf("finding %+v", f)
		}
		names[f.Check] = true
	}
	if len(findings) != 22 {
		t.Errorf("%d findings", len(findings))
	}
}

// TestZeroPolicyRejectsEverything, also what could not be better.
func TestZeroPolicyRejectsEverything(t *testing.T) {
	v, _ := wanted()
	v.Status, v.Advisories = dcap.StatusUpToDate, nil
	err := dcap.Policy{}.Check(v)
	var p *dcap.PolicyError
	if !errors.As(err, &p) {
		t.Fatalf("error %v", err)
	}
	var checks []string
	for _, violation := range p.Violations {
		checks = append(checks, violation.Check)
	}
	if diff := cmp.Diff([]string{"tcb_status", "measurement", "isv_prod_id", "isv_svn"}, checks); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
	if err := (dcap.Policy{}).Check(nil); !errors.As(err, &p) || p.Violations[0].Check != "verdict" {
		t.Errorf("no verdict: %v", err)
	}
}

// TestPolicyViolations changes one thing and expects one violation, with its text.
func TestPolicyViolations(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*dcap.Verdict, *dcap.Policy)
		check  string
		want   string
	}{
		{"status", func(v *dcap.Verdict, _ *dcap.Policy) { v.Status = dcap.StatusOutOfDate }, "tcb_status",
			"found OutOfDate (INTEL-SA-00615), want UpToDate, SWHardeningNeeded; update the platform, or accept the status"},
		{"no status", func(_ *dcap.Verdict, p *dcap.Policy) { p.AcceptStatuses = nil }, "tcb_status", "want none"},
		{"status without advisories", func(v *dcap.Verdict, _ *dcap.Policy) { v.Status, v.Advisories = dcap.StatusOutOfDate, nil }, "tcb_status",
			"found OutOfDate, want"},
		{"revoked, though listed", func(v *dcap.Verdict, p *dcap.Policy) {
			v.Status, p.AcceptStatuses = dcap.StatusRevoked, dcap.Statuses()
		}, "tcb_status", "do not use this platform: Intel has revoked its TCB level, and no policy accepts that"},
		{"an unknown status, though listed", func(v *dcap.Verdict, p *dcap.Policy) { v.Status = "" }, "tcb_status", "found  (INTEL"},
		{"advisory", func(v *dcap.Verdict, _ *dcap.Policy) { v.Advisories = append(v.Advisories, "INTEL-SA-2", "INTEL-SA-3") }, "tcb_advisories",
			"found INTEL-SA-2, INTEL-SA-3, want none but INTEL-SA-00615; read the advisory"},
		{"advisory with UpToDate", func(v *dcap.Verdict, _ *dcap.Policy) { v.Status, v.Advisories = dcap.StatusUpToDate, []string{"X"} }, "tcb_advisories", "found X"},
		{"advisory of another status", func(v *dcap.Verdict, p *dcap.Policy) {
			p.AcceptAdvisories, p.StatusAdvisories = nil, map[dcap.Status][]string{dcap.StatusUpToDate: {"INTEL-SA-00615"}}
		}, "tcb_advisories", "found INTEL-SA-00615, want none"},
		{"version 2", func(v *dcap.Verdict, _ *dcap.Policy) { v.TCBInfoVersion = 2 }, "tcb_info_version", "found 2, want 3, which lists advisories; fetch the collateral from API v4"},
		{"FMSPC", func(v *dcap.Verdict, _ *dcap.Policy) { v.PCK.FMSPC[5] = 1 }, "fmspc", "found 00606A000001, want one of 00606A000000"},
		{"FMSPC denied", func(_ *dcap.Verdict, p *dcap.Policy) { p.DenyFMSPCs = p.FMSPCs }, "fmspc", "found 00606A000000"},
		{"number", func(v *dcap.Verdict, _ *dcap.Policy) { v.TCBInfoEvaluationNumber = 16 }, "tcb_evaluation_data_number",
			"found TCB info 16, QE identity 18, want at least 17; fetch newer collateral"},
		{"QE number", func(v *dcap.Verdict, _ *dcap.Policy) { v.QEIdentityEvaluationNumber = 16 }, "tcb_evaluation_data_number", "QE identity 16"},
		{"age of the TCB info", func(v *dcap.Verdict, _ *dcap.Policy) { v.TCBInfoIssued = v.TCBInfoIssued.Add(-time.Second) }, "collateral_age",
			"found 5h0m1s, want at most 5h0m0s; fetch fresh collateral"},
		{"age of the QE identity", func(v *dcap.Verdict, _ *dcap.Policy) { v.QEIdentityIssued = labTime.Add(-6 * time.Hour) }, "collateral_age", "found 6h0m0s"},
		{"MRENCLAVE", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.MRENCLAVE[31] = 1 }, "mr_enclave",
			"found 01" + strings.Repeat("0", 60) + "01, want 09" + strings.Repeat("0", 62) + ", 01" + strings.Repeat("0", 62)},
		{"MRSIGNER", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.MRSIGNER[31] = 1 }, "mr_signer", "signed with another key"},
		{"product", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ISVProdID = 8 }, "isv_prod_id", "found 8, want 7; another product of the same signer"},
		{"version", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ISVSVN = 7 }, "isv_svn", "found 7, want at least 8; deploy a newer version"},
		{"signer only, no product", func(_ *dcap.Verdict, p *dcap.Policy) { p.MRENCLAVE, p.ISVProdID = nil, nil }, "isv_prod_id", "a signer alone does not name an enclave"},
		{"signer only, no version", func(_ *dcap.Verdict, p *dcap.Policy) { p.MRENCLAVE, p.MinISVSVN = nil, nil }, "isv_svn", "accepts every old version"},
		{"no measurement", func(_ *dcap.Verdict, p *dcap.Policy) { p.MRENCLAVE, p.MRSIGNER = nil, nil }, "measurement", "the policy names neither MRENCLAVE nor MRSIGNER"},
		{"CONFIGID", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ConfigID = [64]byte{63: 1} }, "config_id", "started with another configuration"},
		{"CONFIGSVN", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ConfigSVN = 2 }, "config_svn", "found 2, want at least 3"},
		{"ISVEXTPRODID", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ISVExtProdID = [16]byte{15: 1} }, "isv_ext_prod_id", "another product"},
		{"ISVFAMILYID", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ISVFamilyID = [16]byte{15: 1} }, "isv_family_id", "another product family"},
		{"report data", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.ReportData[63] = 1 }, "report_data", "want 0506 and zeros; the quote was made for something else"},
		{"debug", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.Flags |= quote.FlagDebug }, "debug",
			"found a debug enclave, want a production enclave; build it without sgx.debug"},
		{"not initialised", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.Flags &^= quote.FlagInit }, "attribute_init", "found clear, want set"},
		{"32 bit", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.Flags &^= quote.FlagMode64Bit }, "attribute_mode64bit", "found clear, want set"},
		{"provisioning", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.Flags |= quote.FlagProvisionKey }, "attribute_provision_key", "found set, want clear"},
		{"launch", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.Flags |= quote.FlagEINITTokenKey }, "attribute_einittoken_key", "found set, want clear"},
		{"flags", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.Flags |= 1 << 20 }, "attributes",
			"found flags 0000000000100080, XFRM 0000000000000007 under 0000000000100080, 0000000000000007, want flags 0000000000000080"},
		{"XFRM", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.Attributes.XFRM = 3 }, "attributes", "XFRM 0000000000000003"},
		{"attributes without a mask", func(_ *dcap.Verdict, p *dcap.Policy) { p.AttributesMask = quote.Attributes{} }, "attributes", "found a policy with attributes and no mask, want flags"},
		{"MISCSELECT", func(v *dcap.Verdict, _ *dcap.Policy) { v.Report.MiscSelect = 3 }, "misc_select", "found 00000003, want 00000001 under 00000003"},
		{"MISCSELECT without a mask", func(_ *dcap.Verdict, p *dcap.Policy) { p.MiscSelectMask = 0 }, "misc_select", "want 00000001 under 00000000"},
		{"MISCSELECT with bits outside the mask", func(_ *dcap.Verdict, p *dcap.Policy) { p.MiscSelect = 5 }, "misc_select", "want 00000005 under 00000003"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, p := wanted()
			test.change(v, &p)
			err := p.Check(v)
			var refusal *dcap.PolicyError
			if !errors.As(err, &refusal) {
				t.Fatalf("error %v", err)
			}
			if len(refusal.Violations) != 1 || refusal.Violations[0].Check != test.check {
				t.Fatalf("violations %v, want one of %s", refusal.Violations, test.check)
			}
			if text := err.Error(); !strings.HasPrefix(text, "policy: "+test.check+": ") || !strings.Contains(text, test.want) {
				t.Errorf("error %q does not say %q", text, test.want)
			}
			if refusal.Violations[0].Remedy == "" {
				t.Error("the violation says not what to do")
			}
		})
	}
}

// TestPolicyLoosened gives the permission for what is refused otherwise.
func TestPolicyLoosened(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*dcap.Verdict, *dcap.Policy)
	}{
		{"debug", func(v *dcap.Verdict, p *dcap.Policy) {
			v.Report.Attributes.Flags |= quote.FlagDebug
			p.AllowDebug = true
		}},
		{"version 2", func(v *dcap.Verdict, p *dcap.Policy) { v.TCBInfoVersion = 2; p.AllowTCBInfoV2 = true }},
		{"advisory of this status", func(v *dcap.Verdict, p *dcap.Policy) {
			p.AcceptAdvisories, p.StatusAdvisories = nil, map[dcap.Status][]string{v.Status: v.Advisories}
		}},
		{"nothing asked of the collateral", func(v *dcap.Verdict, p *dcap.Policy) {
			p.MinEvaluationNumber, p.MaxCollateralAge = 0, 0
			v.TCBInfoEvaluationNumber, v.TCBInfoIssued = 0, time.Time{}
		}},
		{"MRENCLAVE names enough", func(_ *dcap.Verdict, p *dcap.Policy) { p.MRSIGNER, p.ISVProdID, p.MinISVSVN = nil, nil, nil }},
		{"no attributes asked", func(v *dcap.Verdict, p *dcap.Policy) {
			p.Attributes, p.AttributesMask, p.MiscSelect, p.MiscSelectMask = quote.Attributes{}, quote.Attributes{}, 0, 0
			v.Report.Attributes.XFRM, v.Report.MiscSelect = 3, 7
		}},
		{"no families named", func(_ *dcap.Verdict, p *dcap.Policy) { p.FMSPCs, p.DenyFMSPCs = nil, nil }},
	} {
		v, p := wanted()
		test.change(v, &p)
		if err := p.Check(v); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestPolicyNamesAllViolations at once: a person should not have to come back for each.
func TestPolicyNamesAllViolations(t *testing.T) {
	v, p := wanted()
	v.Status = dcap.StatusOutOfDate
	v.Report.MRENCLAVE = [32]byte{}
	v.Report.Attributes.Flags |= quote.FlagDebug
	err := p.Check(v)
	var refusal *dcap.PolicyError
	if !errors.As(err, &refusal) || len(refusal.Violations) != 3 {
		t.Fatalf("error %v", err)
	}
	if lines := strings.Split(err.Error(), "\npolicy: "); len(lines) != 3 {
		t.Errorf("%d lines in %q", len(lines), err)
	}
}

func TestViolationWithoutRemedy(t *testing.T) {
	if got := (dcap.Violation{Check: "c", Want: "w", Got: "g"}).String(); got != "c: found g, want w" {
		t.Error(got)
	}
}
