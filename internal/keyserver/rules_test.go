package keyserver

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// goodVerdict is of an enclave on a platform as Alibaba Cloud's g7t has it.
func goodVerdict() *dcap.Verdict {
	at := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	v := &dcap.Verdict{
		At: at, Status: dcap.StatusSWHardeningNeeded, Advisories: []string{"INTEL-SA-00615"}, TCBInfoVersion: 3,
		EvaluationNumber: 17, TCBInfoEvaluationNumber: 17, QEIdentityEvaluationNumber: 17,
		TCBInfoIssued: at.Add(-time.Hour), QEIdentityIssued: at.Add(-time.Hour),
	}
	v.Report.MRENCLAVE[0], v.Report.MRSIGNER[0] = 0xe1, 0x51
	v.Report.ISVProdID, v.Report.ISVSVN = 7, 3
	v.PCK.FMSPC = dcap.FMSPC{0, 0x60, 0x6a}
	v.Report.Attributes.Flags = quote.FlagInit | quote.FlagMode64Bit
	return v
}

// rulesOf compiles YAML rules.
func rulesOf(t *testing.T, text string) *Rules {
	t.Helper()
	cfg, err := ParseConfig([]byte(`
listen: ":4433"
tls: { certificate: server.pem, private_key: server-key.pem }
collateral: { region: cn-beijing }
secrets: [{ name: a, file: a }, { name: b, file: b }]
rules:
`+text), "/")
	if err != nil {
		t.Fatal(err)
	}
	rs, err := NewRules(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

var (
	enclaveE1 = "mr_enclave: [e1" + strings.Repeat("0", 62) + "]"
	signer51  = "mr_signer: ['51" + strings.Repeat("0", 62) + "']"
)

const hardened = "tcb: { accept: [SWHardeningNeeded], accept_advisories: [INTEL-SA-00615] }"

func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		name       string
		conditions string
		serverName string
		change     func(v *dcap.Verdict)
		failed     []string // checks; empty: released
	}{
		{name: "enclave", conditions: enclaveE1 + ", " + hardened},
		{name: "enclave in upper case", conditions: strings.Replace(enclaveE1, "[e1", "[E1", 1) + ", " + hardened},
		{name: "another enclave", conditions: enclaveE1 + ", " + hardened, change: func(v *dcap.Verdict) { v.Report.MRENCLAVE[31] = 1 }, failed: []string{"mr_enclave"}},
		{name: "both", conditions: enclaveE1 + ", " + signer51 + ", " + hardened},
		{name: "another signer", conditions: enclaveE1 + ", " + signer51 + ", " + hardened, change: func(v *dcap.Verdict) { v.Report.MRSIGNER[31] = 1 }, failed: []string{"mr_signer"}},
		{name: "signer", conditions: signer51 + ", isv_prod_id: 7, min_isv_svn: 3, " + hardened},
		{name: "a newer enclave of the signer", conditions: signer51 + ", isv_prod_id: 7, min_isv_svn: 3, " + hardened, change: func(v *dcap.Verdict) { v.Report.ISVSVN = 9 }},
		{name: "an older enclave of the signer", conditions: signer51 + ", isv_prod_id: 7, min_isv_svn: 4, " + hardened, failed: []string{"isv_svn"}},
		{name: "another product of the signer", conditions: signer51 + ", isv_prod_id: 8, min_isv_svn: 0, " + hardened, failed: []string{"isv_prod_id"}},
		{name: "debug", conditions: enclaveE1 + ", " + hardened, change: func(v *dcap.Verdict) { v.Report.Attributes.Flags |= quote.FlagDebug }, failed: []string{"debug"}},
		{name: "debug, allowed", conditions: enclaveE1 + ", allow_debug: true, " + hardened, change: func(v *dcap.Verdict) { v.Report.Attributes.Flags |= quote.FlagDebug }},
		{name: "status", conditions: enclaveE1 + ", tcb: { accept: [UpToDate], accept_advisories: [INTEL-SA-00615] }", failed: []string{"tcb_status"}},
		{name: "advisory", conditions: enclaveE1 + ", tcb: { accept: [SWHardeningNeeded] }", failed: []string{"tcb_advisories"}},
		{name: "another advisory", conditions: enclaveE1 + ", " + hardened, change: func(v *dcap.Verdict) { v.Advisories = append(v.Advisories, "INTEL-SA-99999") }, failed: []string{"tcb_advisories"}},
		{name: "advisory of its status", conditions: enclaveE1 + ", tcb: { accept: [SWHardeningNeeded], status_advisories: { SWHardeningNeeded: [INTEL-SA-00615] } }"},
		{name: "advisory of another status", conditions: enclaveE1 + ", tcb: { accept: [SWHardeningNeeded], status_advisories: { UpToDate: [INTEL-SA-00615] } }", failed: []string{"tcb_advisories"}},
		{name: "family", conditions: enclaveE1 + ", " + strings.Replace(hardened, " }", ", fmspc: [000000000000, 00606A000000] }", 1)},
		{name: "another family", conditions: enclaveE1 + ", " + strings.Replace(hardened, " }", ", fmspc: [00606A000000] }", 1), change: func(v *dcap.Verdict) { v.PCK.FMSPC[5] = 1 }, failed: []string{"fmspc"}},
		{name: "denied family", conditions: enclaveE1 + ", " + strings.Replace(hardened, " }", ", deny_fmspc: [00606A000000] }", 1), failed: []string{"fmspc"}},
		{name: "configuration", conditions: enclaveE1 + ", config_id: '" + strings.Repeat("00", 64) + "', min_config_svn: 0, isv_ext_prod_id: '" + strings.Repeat("00", 16) + "', isv_family_id: '" + strings.Repeat("00", 16) + "', " + hardened},
		{name: "another configuration", conditions: enclaveE1 + ", config_id: '01" + strings.Repeat("00", 63) + "', min_config_svn: 1, isv_ext_prod_id: '01" + strings.Repeat("00", 15) + "', isv_family_id: '02" + strings.Repeat("00", 15) + "', " + hardened,
			failed: []string{"config_id", "config_svn", "isv_ext_prod_id", "isv_family_id"}},
		{name: "attributes", conditions: enclaveE1 + ", attributes: { flags: 0x4, flags_mask: 0x6, xfrm_mask: 0x4 }, misc_select: { mask: 1 }, " + hardened},
		{name: "other attributes", conditions: enclaveE1 + ", attributes: { flags: 0x80, flags_mask: 0x80 }, misc_select: { value: 1, mask: 1 }, " + hardened, failed: []string{"attributes", "misc_select"}},
		{name: "another XFRM", conditions: enclaveE1 + ", attributes: { xfrm: 0x4, xfrm_mask: 0x4 }, " + hardened, failed: []string{"attributes"}},
		{name: "evaluation number", conditions: enclaveE1 + ", " + strings.Replace(hardened, " }", ", min_evaluation_number: 18 }", 1), failed: []string{"tcb_evaluation_data_number"}},
		{name: "old collateral", conditions: enclaveE1 + ", " + hardened, change: func(v *dcap.Verdict) { v.TCBInfoIssued = v.At.Add(-169 * time.Hour) }, failed: []string{"collateral_age"}},
		{name: "TCB info without advisories", conditions: enclaveE1 + ", " + hardened, change: func(v *dcap.Verdict) { v.TCBInfoVersion = 2 }, failed: []string{"tcb_info_version"}},
		{name: "revoked", conditions: enclaveE1 + ", " + hardened, change: func(v *dcap.Verdict) { v.Status = dcap.StatusRevoked }, failed: []string{"tcb_status"}},
		{name: "name", conditions: enclaveE1 + ", server_name: [a.example.com, b.example.com], " + hardened, serverName: "b.example.com"},
		{name: "name in another case, with dot", conditions: enclaveE1 + ", server_name: [a.Example.com], " + hardened, serverName: "A.example.COM."},
		{name: "another name", conditions: enclaveE1 + ", server_name: [a.example.com], " + hardened, serverName: "x.a.example.com", failed: []string{"server_name"}},
		{name: "no name", conditions: enclaveE1 + ", server_name: [a.example.com], " + hardened, failed: []string{"server_name"}},
		{name: "a name nobody asked for", conditions: enclaveE1 + ", " + hardened, serverName: "a.example.com"},
		{name: "several reasons", conditions: enclaveE1 + ", server_name: [a.example.com], tcb: { accept: [UpToDate] }", change: func(v *dcap.Verdict) { v.Report.MRENCLAVE[0] = 1 },
			failed: []string{"server_name", "tcb_status", "tcb_advisories", "mr_enclave"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs := rulesOf(t, "  - { name: r, secret: a, "+tt.conditions+" }")
			v := goodVerdict()
			if tt.change != nil {
				tt.change(v)
			}
			d := rs.Decide(v, tt.serverName)
			if d.Released != (len(tt.failed) == 0) {
				t.Fatalf("released: %v; %+v", d.Released, d)
			}
			if d.Released {
				if d.Rule != "r" || d.Secret != "a" {
					t.Errorf("by rule %q secret %q", d.Rule, d.Secret)
				}
				return
			}
			if d.Rule != "" || d.Secret != "" {
				t.Errorf("a refusal names rule %q and secret %q", d.Rule, d.Secret)
			}
			var failed []string
			for _, f := range d.Results[0].Failed() {
				failed = append(failed, f.Check)
				if f.Want == "" || f.Got == "" || f.Remedy == "" {
					t.Errorf("the finding leaves something open: %+v", f)
				}
			}
			if diff := cmp.Diff(tt.failed, failed); diff != "" {
				t.Errorf("failed checks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFirstRuleThatHoldsDecides(t *testing.T) {
	rs := rulesOf(t, `
  - { name: other enclave, secret: a, mr_enclave: [`+hexA+`], `+hardened+` }
  - { name: by name, secret: b, server_name: [b.example.com], `+enclaveE1+`, `+hardened+` }
  - { name: by enclave, secret: a, `+enclaveE1+`, `+hardened+` }
  - { name: never asked, secret: b, `+enclaveE1+`, `+hardened+` }
`)
	for name, want := range map[string]string{"b.example.com": "by name", "c.example.com": "by enclave", "": "by enclave"} {
		d := rs.Decide(goodVerdict(), name)
		if !d.Released || d.Rule != want {
			t.Errorf("for %q: %+v, want rule %q", name, d, want)
		}
		x := rs.Explain(goodVerdict(), name)
		if !x.Released || x.Rule != want || x.Secret != d.Secret || len(x.Results) != 4 {
			t.Errorf("explanation for %q: %+v", name, x)
		}
	}
}

// TestDecideAndExplainAgree on every combination of a few changes.
func TestDecideAndExplainAgree(t *testing.T) {
	rs := rulesOf(t, `
  - { name: one, secret: a, server_name: [a.example.com], `+enclaveE1+`, `+hardened+` }
  - { name: two, secret: b, `+signer51+`, isv_prod_id: 7, min_isv_svn: 3, allow_debug: true, `+hardened+` }
`)
	changes := []func(v *dcap.Verdict){
		func(v *dcap.Verdict) { v.Report.MRENCLAVE[1]++ },
		func(v *dcap.Verdict) { v.Report.MRSIGNER[1]++ },
		func(v *dcap.Verdict) { v.Report.ISVSVN = 2 },
		func(v *dcap.Verdict) { v.Report.Attributes.Flags |= quote.FlagDebug },
		func(v *dcap.Verdict) { v.Status = dcap.StatusOutOfDate },
	}
	released := 0
	for mask := range 1 << len(changes) {
		for _, name := range []string{"", "a.example.com"} {
			v := goodVerdict()
			for i, change := range changes {
				if mask&(1<<i) != 0 {
					change(v)
				}
			}
			d, x := rs.Decide(v, name), rs.Explain(v, name)
			if d.Released != x.Released || d.Rule != x.Rule || d.Secret != x.Secret {
				t.Errorf("mask %b, name %q: %+v and %+v", mask, name, d, x)
			}
			if d.Released {
				released++
			}
		}
	}
	if released == 0 || released == 2<<len(changes) {
		t.Errorf("%d of the cases released: the test shows nothing", released)
	}
}

func TestNothingIsReleasedWithoutAVerdict(t *testing.T) {
	rs := rulesOf(t, "  - { name: r, secret: a, "+enclaveE1+", "+hardened+" }")
	if d := rs.Decide(nil, ""); d.Released {
		t.Errorf("no verdict: %+v", d)
	}
	if d := rs.Decide(&dcap.Verdict{}, ""); d.Released {
		t.Errorf("empty verdict: %+v", d)
	}
	if d := (&Rules{}).Decide(goodVerdict(), ""); d.Released {
		t.Errorf("no rules: %+v", d)
	}
}

func TestClosestRuleComesFirst(t *testing.T) {
	rs := rulesOf(t, `
  - { name: other enclave, secret: a, mr_enclave: [`+hexA+`], `+hardened+` }
  - { name: almost, secret: b, server_name: [b.example.com], `+enclaveE1+`, tcb: { accept: [UpToDate] } }
`)
	r := record{decision: rs.Decide(goodVerdict(), "")}
	reasons := r.reasons()
	var got []string
	for _, reason := range reasons {
		got = append(got, reason.Rule+" "+reason.Check)
	}
	want := []string{"almost server_name", "almost tcb_status", "almost tcb_advisories", "other enclave mr_enclave"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	text, err := reasons.MarshalText()
	if err != nil || !strings.HasPrefix(string(text), `rule "almost": server_name: got none, wanted b.example.com (the enclave asks for the host in its SECRET_PROVISION_SERVERS`) {
		t.Errorf("text is %s, error %v", text, err)
	}
	raw, err := json.Marshal(reasons[:1])
	if err != nil || !strings.HasPrefix(string(raw), `[{"rule":"almost","check":"server_name","wanted":"b.example.com","got":"none","next_step":"`) {
		t.Errorf("JSON is %s, error %v", raw, err)
	}
	if got := (&record{}).reasons().String(); got != "rules: got no rule, wanted a rule whose every condition holds" {
		t.Errorf("without rules: %s", got)
	}
}

func TestReasonsAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 200 {
		text.WriteString("  - { name: r" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ", secret: a, mr_enclave: [" + hexA + "], tcb: { accept: [UpToDate] } }\n")
	}
	r := record{decision: rulesOf(t, text.String()).Decide(goodVerdict(), "")}
	reasons := r.reasons()
	if len(reasons) != maxReasons+1 || !strings.Contains(reasons[maxReasons].NextStep, "policy explain") {
		t.Errorf("%d reasons, the last %+v", len(reasons), reasons[len(reasons)-1])
	}
}
