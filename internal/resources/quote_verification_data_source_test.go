package resources_test

import (
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	sgxquote "github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// quoteTime is when the quotes of these tests were made.
var quoteTime = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// quoteFixture is a simulated platform's evidence in a folder: root.pem,
// quote.bin and collateral.json.
type quoteFixture struct {
	t   *testing.T
	dir string
	p   *sgxsim.Platform
	id  sgxsim.Identity
}

func newQuoteFixture(t *testing.T, change func(*quoteFixture)) *quoteFixture {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{At: quoteTime})
	if err != nil {
		t.Fatal(err)
	}
	f := &quoteFixture{t: t, dir: t.TempDir(), p: p, id: sgxsim.Identity{MRENCLAVE: [32]byte{0xab}, MRSIGNER: [32]byte{0xcd}, ISVProdID: 7, ISVSVN: 8}}
	if change != nil {
		change(f)
	}
	mustWrite(t, f.path("root.pem"), p.RootPEM(), 0o600)
	f.writeQuote(nil)
	f.writeCollateral()
	return f
}

func (f *quoteFixture) path(name string) string { return filepath.Join(f.dir, name) }

func (f *quoteFixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *quoteFixture) writeQuote(change func(*sgxquote.Quote)) {
	f.t.Helper()
	q, err := f.p.NewQuote(f.id, [64]byte{1, 2, 3})
	f.must(err)
	if change != nil {
		change(q)
	}
	raw, err := q.Marshal()
	f.must(err)
	mustWrite(f.t, f.path("quote.bin"), raw, 0o600)
}

func (f *quoteFixture) writeCollateral() {
	f.t.Helper()
	c, err := f.p.Collateral(quoteTime)
	f.must(err)
	converted := dcap.Collateral(*c)
	bundle := &pccs.Bundle{}
	f.must(bundle.Add(&dcap.Platform{FMSPC: dcap.FMSPC(f.p.Machine.FMSPC), CA: dcap.CAPlatform}, &converted))
	data, err := bundle.Marshal()
	f.must(err)
	mustWrite(f.t, f.path("collateral.json"), data, 0o600)
}

// config is the data source with the fixture's files and further arguments.
func (f *quoteFixture) config(further ...string) string {
	return f.configWith("file = "+inDir(f.dir, "quote.bin"), "bundle = "+inDir(f.dir, "collateral.json"), further...)
}

func (f *quoteFixture) configWith(source, collateral string, further ...string) string {
	return fmt.Sprintf("data \"cc_quote_verification\" \"q\" {\n  %s\n  collateral = { %s }\n  allow_trusted_root = %s\n  %s\n}\n",
		source, collateral, inDir(f.dir, "root.pem"), strings.Join(further, "\n  "))
}

// atQuoteTime runs steps with a clock at the time of the quotes.
func atQuoteTime(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	acceptWith(t, []provider.Option{provider.WithClock(func() time.Time { return quoteTime })}, steps...)
}

// quoteIs expects attributes of the data source.
func quoteIs(want map[string]knownvalue.Check) []statecheck.StateCheck {
	var checks []statecheck.StateCheck
	for name, check := range want {
		checks = append(checks, statecheck.ExpectKnownValue("data.cc_quote_verification.q", tfjsonpath.New(name), check))
	}
	return checks
}

func TestQuoteVerification(t *testing.T) {
	t.Parallel()
	f := newQuoteFixture(t, nil)
	want := map[string]knownvalue.Check{
		"tcb_status": knownvalue.StringExact("SWHardeningNeeded"), "platform_tcb_status": knownvalue.StringExact("SWHardeningNeeded"),
		"qe_tcb_status": knownvalue.StringExact("UpToDate"), "advisories": knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("INTEL-SA-00615")}),
		"platform_advisories": knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("INTEL-SA-00615")}), "qe_advisories": knownvalue.ListSizeExact(0),
		"tcb_date": knownvalue.StringExact("2024-03-13T00:00:00Z"), "tcb_evaluation_data_number": knownvalue.Int64Exact(17),
		"tcb_info_issued": knownvalue.StringExact("2026-03-10T00:00:00Z"), "qe_identity_issued": knownvalue.StringExact("2026-03-10T00:00:00Z"),
		"earliest_expiry": knownvalue.StringExact("2026-04-09T00:00:00Z"), "earliest_expiry_of": knownvalue.StringExact("PCK CRL"),
		"verified_for": knownvalue.StringExact("2026-03-10T12:00:00Z"), "simulated": knownvalue.Bool(true),
		"fmspc": knownvalue.StringExact("00606A000000"), "pck_ca": knownvalue.StringExact("platform"),
		"mr_enclave": knownvalue.StringExact("ab" + strings.Repeat("00", 31)), "mr_signer": knownvalue.StringExact("cd" + strings.Repeat("00", 31)),
		"isv_prod_id": knownvalue.Int64Exact(7), "isv_svn": knownvalue.Int64Exact(8), "debug": knownvalue.Bool(false),
		"report_data": knownvalue.StringExact("010203" + strings.Repeat("00", 61)),
	}
	server := httptest.NewServer(&sgxsim.PCCS{Platform: f.p, Now: func() time.Time { return quoteTime }})
	defer server.Close()
	atQuoteTime(t,
		resource.TestStep{Config: f.config(), ConfigStateChecks: quoteIs(want)},
		resource.TestStep{
			Config:            f.configWith("content_base64 = "+fileBase64(f.path("quote.bin")), "url = "+quote(server.URL)),
			ConfigStateChecks: quoteIs(want),
		},
		resource.TestStep{
			Config: f.configWith("file = "+inDir(f.dir, "quote.bin"), "update = \"early\"\n url = "+quote(server.URL)),
			ConfigStateChecks: quoteIs(map[string]knownvalue.Check{
				"tcb_status": knownvalue.StringExact("OutOfDate"), "tcb_evaluation_data_number": knownvalue.Int64Exact(18),
			}),
		},
		resource.TestStep{
			Config:            f.config(`at = "2026-03-11T00:00:00+01:00"`),
			ConfigStateChecks: quoteIs(map[string]knownvalue.Check{"verified_for": knownvalue.StringExact("2026-03-10T23:00:00Z")}),
		},
	)
}

// TestQuoteVerificationPostcondition decides on what the quote proves.
func TestQuoteVerificationPostcondition(t *testing.T) {
	t.Parallel()
	f := newQuoteFixture(t, func(f *quoteFixture) { f.id.Debug = true })
	condition := func(expression string) string {
		return "lifecycle {\n    postcondition {\n      condition = " + expression + "\n      error_message = \"Not wanted: ${self.tcb_status}.\"\n    }\n  }"
	}
	atQuoteTime(t,
		resource.TestStep{Config: f.config(condition(`self.debug && self.simulated`))},
		resource.TestStep{Config: f.config(condition(`!self.debug`)), ExpectError: says("Not wanted: SWHardeningNeeded.")},
		resource.TestStep{Config: f.config(condition(`setsubtract(self.advisories, []) == toset([])`)), ExpectError: says("Not wanted")},
	)
}

func TestQuoteVerificationRejects(t *testing.T) {
	good := newQuoteFixture(t, nil)
	tampered := newQuoteFixture(t, nil)
	tampered.writeQuote(func(q *sgxquote.Quote) { q.Body.MRENCLAVE[0]++ })
	revoked := newQuoteFixture(t, func(f *quoteFixture) { f.p.Standard.Levels[0].Status = "Revoked" })
	other := newQuoteFixture(t, func(f *quoteFixture) { f.p.Machine.FMSPC[5] = 1 }) // only the bundle's
	mustWrite(t, good.path("text"), []byte("neither quote nor collateral nor root"), 0o600)

	file := "file = " + inDir(good.dir, "quote.bin")
	bundle := "bundle = " + inDir(good.dir, "collateral.json")
	for _, tt := range []rejection{
		{"tampered", tampered.config(), "quote_signature: quote: found a signature that the attestation key did not make over header and report; the quote has been altered or damaged: take a new one."},
		{"expired", good.config(`at = "2026-04-09T00:00:01Z"`), "pck_crl: PCK CRL: found one that expired on 2026-04-09T00:00:00Z, want one that is valid at 2026-04-09T00:00:01Z"},
		{"revoked", revoked.config(), "Could not accept quote: Intel has revoked the TCB level of its platform. Use another machine."},
		{"no collateral for it", good.configWith(file, "bundle = "+inDir(other.dir, "collateral.json")), "Error: Collateral not available"},
		{"service not there", good.configWith(file, `url = "http://127.0.0.1:1"`), "Error: Collateral not available"},
		{"not Intel's", strings.Replace(good.config(), "allow_trusted_root", "#", 1), "want Intel's root key a0af031289f5d5d4"},
		{"not a quote", good.configWith("file = "+inDir(good.dir, "text"), bundle), "Could not parse quote: header at offset 0: found 37 bytes, want 48 bytes; take the quote whole and by itself"},
		{"not base64", good.configWith(`content_base64 = "quote.bin"`, bundle), `Could not decode quote: not base64; use filebase64("FILE").`},
		{"not collateral", good.configWith(file, "bundle = "+inDir(good.dir, "text")), "Error: Collateral source not usable"},
		{"not a root", strings.Replace(good.config(), "root.pem", "text", 1), "Error: Trusted root not usable"},
		{"two quotes", good.configWith(file+"\n content_base64 = \"\"", bundle), "Invalid Attribute Combination"},
		{"no quote", good.configWith("", bundle), "Missing Attribute Configuration"},
		{"two sources", good.configWith(file, bundle+"\n region = \"cn-beijing\""), "Invalid Attribute Combination"},
		{"no source", good.configWith(file, ""), "Missing Attribute Configuration"},
		{"network without region", good.configWith(file, bundle+"\n network = \"vpc\""), "Invalid Attribute Combination"},
		{"network", good.configWith(file, "region = \"cn-beijing\"\n network = \"lan\""), `value must be one of "public", "vpc"`},
		{"update", good.configWith(file, bundle+"\n update = \"soon\""), `value must be one of "standard", "early"`},
		{"time", good.config(`at = "yesterday"`), `value must be a time such as "2026-11-02T10:00:00Z", got: yesterday`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			atQuoteTime(t, resource.TestStep{Config: tt.config, PlanOnly: true, ExpectError: says(tt.want)})
		})
	}
}

func TestQuoteInfoFunction(t *testing.T) {
	t.Parallel()
	f := newQuoteFixture(t, nil)
	call := func() string { return "provider::cc::quote_info(" + fileBase64(f.path("quote.bin")) + ")" }
	mrenclave := make([]byte, 32)
	mrenclave[0] = 0xab
	evaluates(t, call()+".mr_enclave", hex.EncodeToString(mrenclave))
	evaluates(t, `join(" ", [for k, v in `+call()+` : "${k}=${v}" if k != "mr_enclave" && k != "report_data"])`,
		"debug=false fmspc=00606A000000 isv_prod_id=7 isv_svn=8 mr_signer=cd"+strings.Repeat("00", 31)+" pck_ca=platform version=3")
	f.writeQuote(func(q *sgxquote.Quote) { q.CertificationType = sgxquote.CertPPIDRSA3072 })
	evaluates(t, `jsonencode([`+call()+`.fmspc, `+call()+`.pck_ca])`, "[null,null]")
	rejects(t, []rejection{
		{"not base64", output(`provider::cc::quote_info("quote.bin")`), `decode quote: not base64; use filebase64("FILE")`},
		{"not a quote", output(`provider::cc::quote_info("AAAA")`), `Invalid value for "content_base64" parameter: parse quote: header at offset 0: found 3 bytes, want 48 bytes`},
	})
}
