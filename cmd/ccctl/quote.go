package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

func newQuoteCommand(u *ui) *cobra.Command {
	return group("quote", "Look into SGX quotes and verify them", newQuoteInspect(u), newQuoteVerify(u))
}

// classifyQuote tells the exit codes of the quote parser, the verifier and its policies.
func classifyQuote(err error) int {
	var format *quote.Error
	var refusal *dcap.Error
	var config *dcap.ConfigError
	var policy *dcap.PolicyError
	switch {
	case errors.As(err, &format):
		return exitFormat
	case errors.As(err, &policy):
		return exitRefused
	case errors.As(err, &config):
		return exitUsage
	case errors.As(err, &refusal) && refusal.Stage == dcap.StageQuoteFormat:
		return exitFormat
	case errors.As(err, &refusal) && refusal.Stage == dcap.StageCollateralMissing:
		return exitUnreachable
	case errors.As(err, &refusal):
		return exitNotGenuine
	}
	return exitOK
}

// readQuote reads a quote from a file, as an enclave finds it in /dev/attestation/quote.
func readQuote(name string) (*quote.Quote, error) {
	q, err := deploy.ReadQuote(name)
	var format *quote.Error
	if errors.As(err, &format) {
		err = fmt.Errorf("%s: %w", name, err)
		if format.Kind == quote.BadVersion && looksLikeText(name) {
			err = withHint(err, "this looks like hex digits or base64: give the binary quote")
		}
	}
	return q, err
}

// looksLikeText tells a quote that somebody has encoded from one of another version.
func looksLikeText(name string) bool {
	raw, err := os.ReadFile(name)
	return err == nil && strings.Trim(string(raw), "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/=\r\n") == ""
}

func newQuoteInspect(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a quote claims, without verifying it",
		Long: `inspect shows the measurements, the versions and the certificate chain in FILE, a
quote as an enclave reads it from /dev/attestation/quote. Anybody can write such a
file: 'ccctl quote verify' tells whether SGX made it.`,
		Example: `  ccctl quote inspect quote.bin`,
		Args:    args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			q, err := readQuote(args[0])
			if err != nil {
				return err
			}
			u.note("nothing here is verified; for that, run 'ccctl quote verify'")
			shown := inspectQuote(q)
			return u.report(shown, shown.text)
		},
	}
	u.jsonFlag(cmd)
	return cmd
}

// quoteInspection is a quote in words. The names are those of the key server's configuration.
type quoteInspection struct {
	Version           uint16        `json:"version"`
	QESVN             uint16        `json:"qe_svn"`
	PCESVN            uint16        `json:"pce_svn"`
	QEID              string        `json:"qe_id"`
	Report            reportShown   `json:"report"`
	QEReport          reportShown   `json:"qe_report"`
	CertificationType string        `json:"certification_data"`
	PCK               *pckShown     `json:"pck,omitempty"`
	PCKChain          []certificate `json:"pck_chain,omitempty"`
	PCKProblem        string        `json:"pck_problem,omitempty"`
}

type reportShown struct {
	MRENCLAVE  string   `json:"mr_enclave"`
	MRSIGNER   string   `json:"mr_signer"`
	ISVProdID  uint16   `json:"isv_prod_id"`
	ISVSVN     uint16   `json:"isv_svn"`
	Debug      bool     `json:"debug"`
	Flags      []string `json:"flags"`
	XFRM       string   `json:"xfrm"`
	MiscSelect string   `json:"misc_select"`
	CPUSVN     string   `json:"cpu_svn"`
	ConfigID   string   `json:"config_id,omitempty"`
	ConfigSVN  uint16   `json:"config_svn,omitempty"`
	ReportData string   `json:"report_data"`
}

type pckShown struct {
	FMSPC      string    `json:"fmspc"`
	PCEID      string    `json:"pce_id"`
	CA         string    `json:"ca"`
	SGXType    string    `json:"sgx_type"`
	Components [16]uint8 `json:"tcb_components"`
	PCESVN     uint16    `json:"pce_svn"`
}

type certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

func showReport(r *quote.ReportBody) reportShown {
	shown := reportShown{
		MRENCLAVE: hex.EncodeToString(r.MRENCLAVE[:]), MRSIGNER: hex.EncodeToString(r.MRSIGNER[:]),
		ISVProdID: r.ISVProdID, ISVSVN: r.ISVSVN, Debug: r.Attributes.Debug(), Flags: flagNames(r.Attributes.Flags),
		XFRM: fmt.Sprintf("%016x", r.Attributes.XFRM), MiscSelect: fmt.Sprintf("%08x", r.MiscSelect),
		CPUSVN: hex.EncodeToString(r.CPUSVN[:]), ConfigSVN: r.ConfigSVN, ReportData: hex.EncodeToString(r.ReportData[:]),
	}
	if r.ConfigID != [64]byte{} {
		shown.ConfigID = hex.EncodeToString(r.ConfigID[:])
	}
	return shown
}

func flagNames(flags uint64) []string {
	names := []string{}
	for _, f := range []struct {
		bit  uint64
		name string
	}{
		{quote.FlagInit, "INIT"},
		{quote.FlagDebug, "DEBUG"},
		{quote.FlagMode64Bit, "MODE64BIT"},
		{quote.FlagProvisionKey, "PROVISION_KEY"},
		{quote.FlagEINITTokenKey, "EINITTOKEN_KEY"},
		{quote.FlagCET, "CET"},
		{quote.FlagKSS, "KSS"},
		{quote.FlagAEXNotify, "AEX_NOTIFY"},
	} {
		if flags&f.bit != 0 {
			names = append(names, f.name)
			flags &^= f.bit
		}
	}
	if flags != 0 {
		names = append(names, fmt.Sprintf("%#x", flags))
	}
	return names
}

func showPCK(p *dcap.PCK) *pckShown {
	return &pckShown{
		FMSPC: p.FMSPC.String(), PCEID: strings.ToUpper(hex.EncodeToString(p.PCEID[:])), CA: p.CA, SGXType: p.SGXType.String(),
		Components: p.Components, PCESVN: p.PCESVN,
	}
}

func inspectQuote(q *quote.Quote) *quoteInspection {
	shown := &quoteInspection{
		Version: q.Header.Version, QESVN: q.Header.QESVN, PCESVN: q.Header.PCESVN, QEID: hex.EncodeToString(q.Header.UserData[:16]),
		Report: showReport(&q.Body), QEReport: showReport(&q.QEReport), CertificationType: q.CertificationType.String(),
	}
	pck, certs, err := dcap.ReadPCK(q)
	if err != nil {
		shown.PCKProblem = err.Error()
	} else {
		shown.PCK = showPCK(pck)
	}
	for _, c := range certs {
		shown.PCKChain = append(shown.PCKChain, certificate{c.Subject.CommonName, c.Issuer.CommonName, c.NotBefore.UTC(), c.NotAfter.UTC()})
	}
	return shown
}

func (s *quoteInspection) text(w io.Writer) error {
	rows := rowWriter{w: w}
	rows.add("Quote", "version %d, ECDSA P-256", s.Version)
	rows.add("Running versions", "QE SVN %d, PCE SVN %d", s.QESVN, s.PCESVN)
	rows.add("QE ID", "%s", s.QEID)
	s.Report.rows(&rows, "")
	s.QEReport.rows(&rows, "QE ")
	rows.add("Certification data", "%s", s.CertificationType)
	if s.PCK != nil {
		s.PCK.rows(&rows)
	}
	for _, c := range s.PCKChain {
		rows.add("Certificate", "%s, by %s, %s to %s", c.Subject, c.Issuer, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
	}
	if s.PCKProblem != "" {
		rows.add("PCK chain", "%s", s.PCKProblem)
	}
	return rows.err
}

func (r *reportShown) rows(rows *rowWriter, prefix string) {
	rows.add(prefix+"MRENCLAVE", "%s", r.MRENCLAVE)
	rows.add(prefix+"MRSIGNER", "%s", r.MRSIGNER)
	rows.add(prefix+"ISVPRODID, ISVSVN", "%d, %d", r.ISVProdID, r.ISVSVN)
	rows.add(prefix+"Attributes", "%s, XFRM %s, MISCSELECT %s", strings.Join(r.Flags, " "), r.XFRM, r.MiscSelect)
	rows.add(prefix+"Report data", "%s", r.ReportData)
	if r.ConfigID != "" {
		rows.add(prefix+"CONFIGID, CONFIGSVN", "%s, %d", r.ConfigID, r.ConfigSVN)
	}
}

func (p *pckShown) rows(rows *rowWriter) {
	rows.add("FMSPC, PCE-ID, CA", "%s, %s, %s", p.FMSPC, p.PCEID, p.CA)
	rows.add("Platform", "SGX type %s, components %v, PCESVN %d", p.SGXType, p.Components, p.PCESVN)
}

// rowWriter writes "name<tab>value" lines and keeps the first error.
type rowWriter struct {
	w   io.Writer
	err error
}

func (r *rowWriter) add(name, format string, a ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, "%s\t%s\n", name, fmt.Sprintf(format, a...))
	}
}

// evidenceFlags are the flags of every command that verifies a quote.
type evidenceFlags struct {
	source collateralFlags
	at     string
	root   string
}

func (f *evidenceFlags) add(cmd *cobra.Command) {
	f.source.add(cmd)
	cmd.Flags().StringVar(&f.at, "at", "", "verify for this time (RFC 3339) instead of now")
	cmd.Flags().StringVar(&f.root, "trusted-root", "", "PEM `FILE` with the root certificate of a simulated platform, instead of Intel's")
}

// options turns the flags into what the verifier wants.
func (f *evidenceFlags) options() (dcap.VerifyOptions, error) {
	at, err := parseAt(f.at)
	if err != nil {
		return dcap.VerifyOptions{}, err
	}
	roots, err := deploy.ReadTrustedRoots(f.root)
	if err != nil {
		return dcap.VerifyOptions{}, err
	}
	return dcap.VerifyOptions{At: at, Roots: roots}, nil
}

func parseAt(s string) (time.Time, error) {
	if s == "" {
		return time.Now().Truncate(time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil || at.IsZero() {
		return time.Time{}, usagef("--at: found %q, want a time like 2026-11-02T10:00:00Z", s)
	}
	return at, nil
}

// verify verifies the quote with collateral from where the flags say.
func (f *evidenceFlags) verify(ctx context.Context, q *quote.Quote) (*dcap.Verdict, error) {
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	source, release, err := f.source.open()
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := deploy.VerifyQuote(ctx, q, source, opts)
	return v, hintRoot(err, opts)
}

func hintRoot(err error, opts dcap.VerifyOptions) error {
	var e *dcap.Error
	if errors.As(err, &e) && e.Reason == dcap.ReasonUntrustedRoot && opts.Roots == nil {
		return withHint(err, "a quote of a simulated platform needs --trusted-root, and proves nothing about hardware")
	}
	return err
}
