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
		{"nothing", "{}", dcap.Policy{}},
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

func TestParsePolicyRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"tcb: { acept: [] }", "acept"},
		{"tcb: { accept: [Revoked] }", "tcb.accept: Revoked cannot be accepted"},
		{"tcb: { accept: [uptodate] }", `tcb.accept: parse TCB status: found "uptodate"`},
		{"tcb: { accept_advisories: [SA-00615] }", `tcb.accept_advisories: found "SA-00615", want an id like INTEL-SA-00615`},
		{"tcb: { status_advisories: { Revoked: [] } }", "tcb.status_advisories: Revoked cannot be accepted"},
		{"tcb: { status_advisories: { Fine: [] } }", `tcb.status_advisories: parse TCB status: found "Fine"`},
		{"tcb: { status_advisories: { UpToDate: [x] } }", `tcb.status_advisories.UpToDate: found "x"`},
		{"tcb: { fmspc: [x] }", `tcb.fmspc: read FMSPC "x": want 12 hex digits`},
		{"tcb: { deny_fmspc: [x] }", `tcb.deny_fmspc: read FMSPC "x"`},
		{"mr_enclave: [ab]", `mr_enclave: found "ab", want 64 hex digits`},
		{"mr_signer: [ab]", `mr_signer: found "ab"`},
		{"max_age: 0s", `max_age: found "0s", want a duration like 168h`},
		{"config_id: ab", `config_id: found "ab", want 128 hex digits`},
		{"isv_ext_prod_id: xx", `isv_ext_prod_id: found "xx", want 32 hex digits`},
		{"isv_family_id: ab", `isv_family_id: found "ab", want 32 hex digits`},
		{"min_config_svn: 65536", "65536"},
		{"attributes: { flags: 0x7, flags_mask: 0x6 }", "attributes: flags 0x7 has bits that flags_mask 0x6 leaves out"},
		{"attributes: { xfrm: 1 }", "attributes: xfrm 0x1 has bits that xfrm_mask 0x0 leaves out"},
		{"misc_select: { value: 1 }", "misc_select: value 0x1 has bits that mask 0x0 leaves out"},
		{"report_data: 0x", `report_data: found "0x", want at most 128 hex digits`},
		{"report_data: " + strings.Repeat("ab", 65), "report_data: found"},
	} {
		if p, err := parsePolicy([]byte(tt.text)); p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.text, err, tt.want)
		}
	}
}
