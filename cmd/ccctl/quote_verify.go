package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
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
    accept: [UpToDate, SWHardeningNeeded]
    accept_advisories: [INTEL-SA-00615]
    min_evaluation_number: 17
  max_age: 168h                     # of TCB info and QE identity
  allow_debug: false

Exit codes: 0 genuine (and wanted), 3 not a quote of version 3, 4 not genuine,
5 genuine but refused, 6 no collateral.`,
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

// policyYAML is a policy file: the conditions of one of the key server's rules, by the same names.
type policyYAML struct {
	MRENCLAVE []string `yaml:"mr_enclave"`
	MRSIGNER  []string `yaml:"mr_signer"`
	ISVProdID *uint16  `yaml:"isv_prod_id"`
	MinISVSVN *uint16  `yaml:"min_isv_svn"`
	TCB       struct {
		Accept              []string `yaml:"accept"`
		AcceptAdvisories    []string `yaml:"accept_advisories"`
		MinEvaluationNumber uint32   `yaml:"min_evaluation_number"`
	} `yaml:"tcb"`
	MaxAge     string `yaml:"max_age"`
	AllowDebug bool   `yaml:"allow_debug"`
}

func readPolicy(name string) (*dcap.Policy, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p, err := parsePolicy(text)
	if err != nil {
		return nil, withCode(exitUsage, fmt.Errorf("read policy %s: %w", name, err))
	}
	return p, nil
}

func parsePolicy(text []byte) (*dcap.Policy, error) {
	var file policyYAML
	if err := yaml.Load(text, &file, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	p := &dcap.Policy{
		AcceptAdvisories: file.TCB.AcceptAdvisories, MinEvaluationNumber: file.TCB.MinEvaluationNumber,
		ISVProdID: file.ISVProdID, MinISVSVN: file.MinISVSVN, AllowDebug: file.AllowDebug,
	}
	var err error
	if p.MRENCLAVE, err = measurements("mr_enclave", file.MRENCLAVE); err != nil {
		return nil, err
	}
	if p.MRSIGNER, err = measurements("mr_signer", file.MRSIGNER); err != nil {
		return nil, err
	}
	for _, word := range file.TCB.Accept {
		status, err := dcap.ParseStatus(word)
		if err != nil {
			return nil, fmt.Errorf("tcb.accept: %w", err)
		}
		if status == dcap.StatusRevoked {
			return nil, fmt.Errorf("tcb.accept: %s cannot be accepted", status)
		}
		p.AcceptStatuses = append(p.AcceptStatuses, status)
	}
	if file.MaxAge != "" {
		if p.MaxCollateralAge, err = time.ParseDuration(file.MaxAge); err != nil || p.MaxCollateralAge <= 0 {
			return nil, fmt.Errorf("max_age: found %q, want a duration like 168h", file.MaxAge)
		}
	}
	return p, nil
}

func measurements(name string, digits []string) ([][32]byte, error) {
	var all [][32]byte
	for _, s := range digits {
		raw, err := hex.DecodeString(s)
		if err != nil || len(raw) != len(quote.ReportBody{}.MRENCLAVE) {
			return nil, fmt.Errorf("%s: found %q, want 64 hex digits", name, s)
		}
		all = append(all, [32]byte(raw))
	}
	return all, nil
}
