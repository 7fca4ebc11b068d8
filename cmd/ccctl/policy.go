package main

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

func newPolicyCommand(u *ui) *cobra.Command {
	return group("policy", "Find out what a key server's rules say of an enclave", newPolicyExplainCommand(u))
}

func newPolicyExplainCommand(u *ui) *cobra.Command {
	var config, quoteFile, certificateFile, collateralFile, serverName, at string
	cmd := &cobra.Command{
		Use:   "explain (--quote FILE | --certificate FILE) --config FILE",
		Short: "Show every check of every rule for a quote or an RA-TLS certificate",
		Long: `explain judges a quote as a key server with that configuration would, and shows
every check: what was wanted, what was found, and what to do. It reads no wrap key
and no private key. Collateral comes from where the configuration says, or from a
file.

Exit codes: 0 a key would be released; 3 not a quote or certificate; 4 not
genuine; 5 genuine, but no rule releases; 6 no collateral.`,
		Example: `  ccctl policy explain --quote quote.bin --config server.yaml
  ccctl policy explain --certificate enclave.pem --config server.yaml --server-name attestation.service.com`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needFlag(cmd, "config"); err != nil {
				return err
			}
			if (quoteFile == "") == (certificateFile == "") {
				return usagef("%s: give either --quote or --certificate", cmd.CommandPath())
			}
			opts := keyserver.ExplainOptions{ServerName: serverName}
			var err error
			if opts.At, err = parseAt(at); err != nil {
				return err
			}
			q, err := readEvidence(quoteFile, certificateFile)
			if err != nil {
				return err
			}
			cfg, err := keyserver.LoadConfig(config)
			if err != nil {
				return keyserverError(err)
			}
			if collateralFile != "" {
				bundle, err := readBundle(collateralFile)
				if err != nil {
					return err
				}
				opts.Collateral = bundle
			}
			x, err := keyserver.Explain(cmd.Context(), cfg, q, opts)
			if err != nil {
				return err
			}
			return reportExplanation(u, q, x)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config, "config", "", "the key server's configuration `FILE`")
	flags.StringVar(&quoteFile, "quote", "", "`FILE` with a raw quote")
	flags.StringVar(&certificateFile, "certificate", "", "`FILE` with an RA-TLS certificate, PEM or DER")
	flags.StringVar(&collateralFile, "collateral", "", "collateral `FILE` to use instead of the configuration's source")
	flags.StringVar(&serverName, "server-name", "", "`NAME` that the enclave asks for")
	flags.StringVar(&at, "at", "", "judge for this `TIME` (RFC 3339) instead of now")
	u.jsonFlag(cmd)
	return cmd
}

// maxCertificateFile bounds what is read as a certificate, in bytes.
const maxCertificateFile = 1 << 20

func readEvidence(quoteFile, certificateFile string) (*quote.Quote, error) {
	if quoteFile != "" {
		return readQuote(quoteFile)
	}
	f, err := os.Open(certificateFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxCertificateFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read certificate %s: %w", certificateFile, err)
	case len(raw) > maxCertificateFile:
		return nil, withCode(exitFormat, fmt.Errorf("read certificate %s: it is longer than %d bytes", certificateFile, maxCertificateFile))
	}
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, withCode(exitFormat, fmt.Errorf("read certificate %s: %w", certificateFile, err))
	}
	e, err := ratls.ParseCertificate(c)
	if err != nil {
		code := exitFormat
		var cause *ratls.Error
		if errors.As(err, &cause) && cause.Kind == ratls.NotBound {
			code = exitNotGenuine
		}
		return nil, withCode(code, fmt.Errorf("%w (%s)", err, certificateFile))
	}
	return e.Quote, nil
}

type explainedRule struct {
	Rule   string          `json:"rule"`
	Secret string          `json:"secret"`
	Holds  bool            `json:"holds"`
	Checks []explainedItem `json:"checks"`
}

type explainedItem struct {
	Check    string `json:"check"`
	OK       bool   `json:"ok"`
	Wanted   string `json:"wanted"`
	Got      string `json:"got"`
	NextStep string `json:"next_step,omitempty"`
}

type explained struct {
	Released   bool              `json:"released"`
	Rule       string            `json:"rule,omitempty"`
	Secret     string            `json:"secret,omitempty"`
	Genuine    bool              `json:"genuine"`
	Simulated  bool              `json:"simulated"`
	MREnclave  string            `json:"mr_enclave"`
	MRSigner   string            `json:"mr_signer"`
	TCBStatus  dcap.Status       `json:"tcb_status,omitempty"`
	Advisories []string          `json:"advisories,omitempty"`
	Reasons    keyserver.Reasons `json:"reasons,omitempty"`
	Rules      []explainedRule   `json:"rules,omitempty"`
}

// reportExplanation prints the result and turns it into an exit code.
func reportExplanation(u *ui, q *quote.Quote, x *keyserver.Explanation) error {
	result := explained{
		Released: x.Decision.Released, Rule: x.Decision.Rule, Secret: x.Decision.Secret, Genuine: x.Refusal == nil,
		MREnclave: hex.EncodeToString(q.Body.MRENCLAVE[:]), MRSigner: hex.EncodeToString(q.Body.MRSIGNER[:]),
		Reasons: x.Reasons(),
	}
	if v := x.Verdict; v != nil {
		result.TCBStatus, result.Advisories, result.Simulated = v.Status, v.Advisories, v.Simulated
	}
	for _, r := range x.Decision.Results {
		rule := explainedRule{Rule: r.Rule, Secret: r.Secret, Holds: r.Holds}
		for _, f := range r.Findings {
			rule.Checks = append(rule.Checks, explainedItem{f.Check, f.OK, f.Want, f.Got, f.Remedy})
		}
		result.Rules = append(result.Rules, rule)
	}
	if err := u.report(result, func(w io.Writer) error { return printExplanation(w, &result, x) }); err != nil {
		return err
	}
	switch {
	case x.IsUnreachable():
		return withCode(exitUnreachable, x.Refusal)
	case x.Refusal != nil:
		return withCode(exitNotGenuine, x.Refusal)
	case !x.Decision.Released:
		return withCode(exitRefused, errors.New("ask rules: none of them releases a key to this enclave"))
	}
	return nil
}

func printExplanation(w io.Writer, result *explained, x *keyserver.Explanation) error {
	p := &printer{w: w}
	p.line("MRENCLAVE\t%s", result.MREnclave)
	p.line("MRSIGNER\t%s", result.MRSigner)
	if x.Refusal != nil {
		p.line("genuine\tno verdict")
		for _, r := range result.Reasons {
			p.line("  %s\tgot\t%s", r.Check, r.Got)
			if r.Wanted != "" {
				p.line("\twanted\t%s", r.Wanted)
			}
			if r.NextStep != "" {
				p.line("\tdo\t%s", r.NextStep)
			}
		}
		return p.err
	}
	genuine := "yes"
	if result.Simulated {
		genuine = "by a trust root that is not Intel's: it proves nothing about hardware"
	}
	p.line("genuine\t%s", genuine)
	for _, rule := range result.Rules {
		p.line("")
		verdict := "does not hold"
		if rule.Holds {
			verdict = "holds, would release " + rule.Secret
			if rule.Rule != result.Rule {
				verdict = "holds, but an earlier rule decides"
			}
		}
		p.line("rule %s: %s", rule.Rule, verdict)
		for _, c := range rule.Checks {
			mark := "ok"
			if !c.OK {
				mark = "FAILED"
			}
			p.line("  %s\t%s\tgot\t%s", mark, c.Check, c.Got)
			if c.Wanted != c.Got {
				p.line("\t\twanted\t%s", c.Wanted)
			}
			if c.NextStep != "" && !c.OK {
				p.line("\t\tdo\t%s", c.NextStep)
			}
		}
	}
	return p.err
}

// printer writes lines until the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", a...)
	}
}

func readCertPool(path string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, withCode(exitFormat, fmt.Errorf("read CA certificates %s: it holds no PEM certificate", path))
	}
	return pool, nil
}
