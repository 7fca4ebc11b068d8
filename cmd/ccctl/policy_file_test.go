package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

func TestParsePolicy(t *testing.T) {
	digits := func(pair string, n int) string { return strings.Repeat(pair, n) }
	enclave := "mr_enclave: [" + digits("ab", 32) + "]\n"
	number := func(n uint16) *uint16 { return &n }
	var configID [64]byte
	var extProdID, familyID [16]byte
	for i := range configID {
		configID[i] = 0xcc
	}
	for i := range extProdID {
		extProdID[i], familyID[i] = 0xee, 0xff
	}
	for _, tt := range []struct {
		name, text string
		want       dcap.Policy
	}{
		{"an enclave", enclave + "tcb: { accept: [UpToDate] }", dcap.Policy{
			MRENCLAVE: [][32]byte{[32]byte([]byte(digits("\xab", 32)))}, AcceptStatuses: []dcap.Status{dcap.StatusUpToDate},
		}},
		{"everything", `
mr_enclave: [` + digits("ab", 32) + `]
mr_signer: [` + digits("CD", 32) + `]
isv_prod_id: 1
min_isv_svn: 2
tcb:
  accept: [UpToDate, SWHardeningNeeded]
  accept_advisories: [INTEL-SA-00615]
  status_advisories: { UpToDate: [INTEL-SA-01153, INTEL-DOC-00001] }
  min_evaluation_number: 17
  fmspc: [00606a000000]
  deny_fmspc: ["00906ED50000"]
allow_tcb_info_v2: true
max_age: 168h
config_id: ` + digits("cc", 64) + `
min_config_svn: 3
isv_ext_prod_id: ` + digits("ee", 16) + `
isv_family_id: ` + digits("ff", 16) + `
attributes: { flags: 0x4, flags_mask: 0x6, xfrm: 3, xfrm_mask: 0xffffffffffffffff }
misc_select: { value: 1, mask: 0xffffffff }
report_data: "0102"
allow_debug: true
`, dcap.Policy{
			MRENCLAVE: [][32]byte{[32]byte([]byte(digits("\xab", 32)))}, MRSIGNER: [][32]byte{[32]byte([]byte(digits("\xcd", 32)))},
			ISVProdID: number(1), MinISVSVN: number(2), AcceptStatuses: []dcap.Status{dcap.StatusUpToDate, dcap.StatusSWHardeningNeeded},
			AcceptAdvisories: []string{"INTEL-SA-00615"}, StatusAdvisories: map[dcap.Status][]string{dcap.StatusUpToDate: {"INTEL-SA-01153", "INTEL-DOC-00001"}},
			MinEvaluationNumber: 17, FMSPCs: []dcap.FMSPC{{0, 0x60, 0x6a}}, DenyFMSPCs: []dcap.FMSPC{{0, 0x90, 0x6e, 0xd5}}, AllowTCBInfoV2: true,
			MaxCollateralAge: 168 * time.Hour, ConfigID: &configID, MinConfigSVN: number(3), ISVExtProdID: &extProdID, ISVFamilyID: &familyID,
			Attributes: quote.Attributes{Flags: 4, XFRM: 3}, AttributesMask: quote.Attributes{Flags: 6, XFRM: ^uint64(0)},
			MiscSelect: 1, MiscSelectMask: ^uint32(0), ReportData: []byte{1, 2}, AllowDebug: true,
		}},
	} {
		got, err := parsePolicy([]byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestParsePolicyRefuses has what is a policy file's own; the conditions themselves are a rule's.
func TestParsePolicyRefuses(t *testing.T) {
	good := "mr_enclave: [" + strings.Repeat("ab", 32) + "]\ntcb: { accept: [UpToDate] }\n"
	for _, tt := range []struct{ text, want string }{
		{"{}", "policy: has neither mr_enclave nor mr_signer"},
		{"{}", "policy.tcb.accept: is empty; list statuses"},
		{"tcb: { acept: [] }", "acept"},
		{good + "name: r", "name, secret and server_name are a rule's, and no conditions on a quote: leave them out"},
		{good + "secret: s", "name, secret and server_name are a rule's"},
		{good + "server_name: [x]", "name, secret and server_name are a rule's"},
		{good + "max_age: 0s", `duration "0s" is not positive`},
		{good + "config_id: ab", `policy.config_id: "ab" is not that; write 128 hex digits`},
		{good + "min_config_svn: 65536", "65536"},
		{good + "report_data: 0x", `policy.report_data: found "0x", want at most 128 hex digits`},
		{good + "report_data: " + strings.Repeat("ab", 65), "policy.report_data: found"},
	} {
		if p, err := parsePolicy([]byte(tt.text)); p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.text, err, tt.want)
		}
	}
}
