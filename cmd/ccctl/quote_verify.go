package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

func newQuoteVerify(u *ui) *cobra.Command {
	var flags evidenceFlags
	var policyFile string
	cmd := &cobra.Command{
		Use:   "verify FILE (--collateral FILE | --pccs URL | --region REGION | --qcnl FILE)",
		Short: "Verify that a quote is genuine, and wanted by a policy",
		Long: `Verify that a quote was made by an enclave on genuine SGX hardware, and report
what it proves. With --policy also decide whether that enclave is wanted;
without, no measurement is compared and no TCB status but Revoked is refused.

A policy file holds the conditions of one rule of the key server:

  mr_enclave: [<64 hex digits>]     # at least one of mr_enclave and mr_signer
  mr_signer: [<64 hex digits>]
  isv_prod_id: 0                    # with min_isv_svn required unless mr_enclave is given
  min_isv_svn: 0
  tcb:
    accept: [UpToDate, SWHardeningNeeded]   # Ice Lake has no better status than the second,
    accept_advisories: [INTEL-SA-00615]     # with this advisory, which asks for hardened software
    min_evaluation_number: 17
    status_advisories: { UpToDate: [INTEL-SA-01153] }   # put up with under that status alone
    fmspc: [<12 hex digits>]        # the only families of platforms
    deny_fmspc: [<12 hex digits>]
  allow_debug: false
  config_id: <128 hex digits>       # of enclaves with key separation and sharing (KSS)
  min_config_svn: 0
  isv_ext_prod_id: <32 hex digits>
  isv_family_id: <32 hex digits>
  attributes:                       # wanted bits, under their masks
    { flags: 0x4, flags_mask: 0x6, xfrm: 0x3, xfrm_mask: 0x3 }
  misc_select: { value: 0, mask: 0xffffffff }

and of what a rule takes from elsewhere:

  max_age: 168h                     # of TCB info and QE identity
  report_data: <hex digits>         # its beginning; the rest is zero
  allow_tcb_info_v2: false          # of API version 3, which lists no advisories

Exit codes: 0 genuine (and wanted), 3 not a quote of version 3, 4 not genuine,
5 genuine but refused, 6 no collateral.`,
		Example: `  ccctl quote verify quote.bin --region cn-beijing --policy policy.yaml
  ccctl quote verify quote.bin --collateral collateral.json --at 2026-11-02T10:00:00Z --json`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.source.check(); err != nil {
				return err
			}
			var policy *dcap.Policy
			if policyFile != "" {
				var err error
				if policy, err = readPolicy(policyFile); err != nil {
					return err
				}
			}
			q, err := readQuote(args[0])
			if err != nil {
				return err
			}
			verdict, err := flags.verify(cmd.Context(), q)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return u.reportVerdict(args[0], verdict, policy)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&policyFile, "policy", "", "YAML `FILE` with the policy to hold the quote against")
	u.jsonFlag(cmd)
	return cmd
}

// reportVerdict prints the verdict and returns the policy's refusal. The report is printed in both cases: it says what
// was found.
func (u *ui) reportVerdict(name string, v *dcap.Verdict, policy *dcap.Policy) error {
	shown := showVerdict(v)
	var refusal error
	if policy != nil {
		shown.Checks = showFindings(policy.Explain(v))
		refusal = policy.Check(v)
	} else if refusal = deploy.RefuseRevoked(v); refusal != nil {
		refusal = withCode(exitRefused, refusal)
	}
	if err := u.report(shown, shown.text); err != nil {
		return err
	}
	if v.Simulated {
		u.warn("the trusted root is not Intel's: this proves nothing about hardware")
	}
	if policy == nil && v.Report.Attributes.Debug() {
		u.warn("it is a debug enclave: whoever runs it reads its memory; a policy refuses it")
	}
	if refusal != nil {
		return fmt.Errorf("%s: %w", name, refusal)
	}
	if policy == nil {
		u.note("genuine; without --policy nothing says that it is the enclave you want")
	}
	return nil
}

// verdictShown is a verdict in words.
type verdictShown struct {
	At                         time.Time      `json:"verified_for"`
	Simulated                  bool           `json:"simulated"`
	RootFingerprint            string         `json:"root_key_sha256"`
	Status                     string         `json:"tcb_status"`
	PlatformStatus             string         `json:"platform_tcb_status"`
	QEStatus                   string         `json:"qe_tcb_status"`
	Advisories                 []string       `json:"advisories"`
	PlatformAdvisories         []string       `json:"platform_advisories"`
	QEAdvisories               []string       `json:"qe_advisories"`
	TCBDate                    time.Time      `json:"tcb_date"`
	QETCBDate                  time.Time      `json:"qe_tcb_date"`
	TCBInfoVersion             int            `json:"tcb_info_version"`
	EvaluationNumber           uint32         `json:"tcb_evaluation_data_number"`
	TCBInfoEvaluationNumber    uint32         `json:"tcb_info_evaluation_data_number"`
	QEIdentityEvaluationNumber uint32         `json:"qe_identity_evaluation_data_number"`
	TCBInfoIssued              time.Time      `json:"tcb_info_issued"`
	QEIdentityIssued           time.Time      `json:"qe_identity_issued"`
	RootCRLIssued              time.Time      `json:"root_ca_crl_issued"`
	PCKCRLIssued               time.Time      `json:"pck_crl_issued"`
	EarliestExpiry             time.Time      `json:"earliest_expiry"`
	EarliestExpiryOf           string         `json:"earliest_expiry_of"`
	PCK                        *pckShown      `json:"pck"`
	Report                     reportShown    `json:"report"`
	Checks                     []findingShown `json:"policy,omitempty"`
}

type findingShown struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Remedy string `json:"remedy,omitempty"`
}

func showFindings(findings []dcap.Finding) []findingShown {
	shown := make([]findingShown, len(findings))
	for i, f := range findings {
		shown[i] = findingShown(f)
	}
	return shown
}

func showVerdict(v *dcap.Verdict) *verdictShown {
	list := func(l []string) []string { return append([]string{}, l...) } // [] and not null in JSON
	return &verdictShown{
		At: v.At.UTC(), Simulated: v.Simulated, RootFingerprint: hex.EncodeToString(v.RootFingerprint[:]),
		Status: string(v.Status), PlatformStatus: string(v.PlatformStatus), QEStatus: string(v.QEStatus),
		Advisories: list(v.Advisories), PlatformAdvisories: list(v.PlatformAdvisories), QEAdvisories: list(v.QEAdvisories),
		TCBDate: v.TCBDate, QETCBDate: v.QETCBDate, TCBInfoVersion: v.TCBInfoVersion,
		EvaluationNumber: v.EvaluationNumber, TCBInfoEvaluationNumber: v.TCBInfoEvaluationNumber,
		QEIdentityEvaluationNumber: v.QEIdentityEvaluationNumber,
		TCBInfoIssued:              v.TCBInfoIssued, QEIdentityIssued: v.QEIdentityIssued,
		RootCRLIssued: v.RootCRLIssued, PCKCRLIssued: v.PCKCRLIssued,
		EarliestExpiry: v.EarliestExpiry, EarliestExpiryOf: v.EarliestExpiryOf,
		PCK: showPCK(&v.PCK), Report: showReport(&v.Report),
	}
}

func (s *verdictShown) text(w io.Writer) error {
	rows := rowWriter{w: w}
	trust := "genuine, under Intel's root"
	if s.Simulated {
		trust = "valid under a root that is NOT INTEL'S, key " + s.RootFingerprint[:16]
	}
	rows.add("Quote", "%s", trust)
	rows.add("TCB status", "%s (platform %s, QE %s)", s.Status, s.PlatformStatus, s.QEStatus)
	rows.add("Advisories", "%s", orNone(s.Advisories))
	rows.add("TCB date", "%s, evaluation number %d", s.TCBDate.Format(time.DateOnly), s.EvaluationNumber)
	rows.add("Good until", "%s (%s)", s.EarliestExpiry.Format(time.RFC3339), s.EarliestExpiryOf)
	s.PCK.rows(&rows)
	s.Report.rows(&rows, "")
	for _, c := range s.Checks {
		verdict := "ok"
		if !c.OK {
			verdict = "REFUSED"
		}
		rows.add("Policy: "+c.Check, "%s: found %s, want %s", verdict, c.Got, c.Want)
	}
	return rows.err
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
