package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/doctor"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// doctorFlags say what to examine.
type doctorFlags struct {
	config    string
	keys      configKeys
	service   serviceFlags
	file      string
	quoteFile string
	fmspc     string
	root      string
}

func newDoctorCommand(u *ui) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE] [--pccs URL | --region REGION | --qcnl FILE | --collateral FILE] [--fmspc HEX | --quote FILE]",
		Short: "Look for what keeps a key server from working, or soon will",
		Long: `doctor examines a key server's configuration with the files it names, and the
collateral service: whether it is reached, which version of the API it speaks,
whether its clock and this machine's agree, whether what it serves is genuine and
current, and when each document and each certificate expires. For a family of
platforms (--fmspc, or --quote with a quote of one) it also compares the early set
of TCB levels with the standard one: what the next TCB recovery will make of them.

The service is the one that a flag names, else the configuration's, else that of
` + pccs.QCNLPath + ` (QCNL_CONF_PATH), the configuration of Intel's
quote provider library.

It changes nothing. Exit codes: 0 nothing has failed, although there may be
warnings; 1 a check has failed; 4 what the service serves is not genuine; 6 the
service cannot be reached.`,
		Example: `  ccctl doctor --config server.yaml
  ccctl doctor --region cn-beijing --quote quote.bin --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := f.options()
			if err != nil {
				return err
			}
			findings, err := doctor.Run(cmd.Context(), doctor.Installation(opts))
			if err != nil {
				return err
			}
			return u.reportFindings(findings)
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "configuration `FILE` of a key server")
	f.keys.flag(cmd)
	f.service.add(cmd)
	cmd.Flags().StringVar(&f.file, "collateral", "", "examine a collateral `FILE` instead of a service")
	cmd.Flags().StringVar(&f.quoteFile, "quote", "", "examine the family of platforms that this quote `FILE` is of")
	cmd.Flags().StringVar(&f.fmspc, "fmspc", "", "examine this family of platforms, 12 `HEX` digits")
	cmd.Flags().StringVar(&f.root, "trusted-root", "", "PEM `FILE` with the root certificate of a simulated platform, instead of Intel's")
	u.jsonFlag(cmd)
	return cmd
}

func (f *doctorFlags) options() (doctor.Options, error) {
	opts := doctor.Options{Config: f.config, Now: time.Now, KeyServer: keyserver.Options{Fingerprint: wrapKeyFingerprint}}
	if f.service.given() > 1 || f.service.given() == 1 && f.file != "" {
		return opts, usagef("doctor: give one of --collateral FILE, --pccs URL, --region REGION and --qcnl FILE")
	}
	if err := f.place(&opts); err != nil {
		return opts, err
	}
	var err error
	if opts.KeyServer.ConfigKeys, err = f.keys.verifier(); err != nil {
		return opts, err
	}
	if opts.FMSPC, err = f.family(); err != nil {
		return opts, err
	}
	opts.Roots, err = deploy.ReadTrustedRoots(f.root)
	return opts, err
}

// place picks the source of collateral: a flag's, else the configuration's, else that of Intel's library.
func (f *doctorFlags) place(opts *doctor.Options) error {
	named := f.service.given() == 1
	switch {
	case f.file != "":
		opts.Place, opts.Origin = &deploy.CollateralPlace{Bundle: f.file}, "a flag"
		return nil
	case !named && f.config != "":
		return nil
	case !named:
		f.service.qcnl = cmp.Or(os.Getenv("QCNL_CONF_PATH"), pccs.QCNLPath)
	}
	opts.Origin = cmp.Or(f.service.qcnl, "a flag")
	place, err := f.service.place()
	switch {
	case !named && errors.Is(err, fs.ErrNotExist):
		return usagef("doctor: name what to examine: --config, --pccs, --region, --qcnl or --collateral; there is no %s either", opts.Origin)
	case err != nil:
		return err
	}
	opts.Place = &place
	return nil
}

// family is the family of platforms to look at in particular; nil if none was named.
func (f *doctorFlags) family() (*dcap.FMSPC, error) {
	switch {
	case f.fmspc != "" && f.quoteFile != "":
		return nil, usagef("doctor: give --fmspc or --quote, not both")
	case f.quoteFile != "":
		q, err := readQuote(f.quoteFile)
		if err != nil {
			return nil, err
		}
		pck, _, err := dcap.ReadPCK(q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.quoteFile, err)
		}
		return &pck.FMSPC, nil
	case f.fmspc != "":
		fmspc, err := pccs.ParseFMSPC(f.fmspc)
		if err != nil {
			return nil, usagef("--fmspc: %w", err)
		}
		return &fmspc, nil
	}
	return nil, nil //nolint:nilnil // None was named.
}

// reportFindings prints findings and returns the failure that they amount to, with what to do as hints.
func (u *ui) reportFindings(findings []doctor.Finding) error {
	shown := struct {
		Findings []doctor.Finding `json:"findings"`
	}{append([]doctor.Finding{}, findings...)}
	if err := u.report(shown, func(w io.Writer) error { return writeFindings(w, findings) }); err != nil {
		return err
	}
	var failures []string
	var codes []int
	for _, f := range findings {
		if f.Status != doctor.Fail {
			continue
		}
		code := exitFailed
		if f.Err != nil {
			code = exitCode(f.Err)
		}
		codes = append(codes, code)
		if !slices.Contains(failures, f.Check) {
			failures = append(failures, f.Check)
		}
	}
	if len(failures) == 0 {
		for _, h := range findingHints(findings) {
			if !u.quiet {
				u.hint(h)
			}
		}
		return nil
	}
	err := fmt.Errorf("examine installation: failed: %s", strings.Join(failures, ", "))
	return &codedError{code: gravest(codes...), hints: findingHints(findings), err: err}
}

// findingHints says what to do, each thing once.
func findingHints(findings []doctor.Finding) []string {
	var remedies []string
	checks := map[string][]string{}
	for _, f := range findings {
		if f.Remedy == "" {
			continue
		}
		if checks[f.Remedy] == nil {
			remedies = append(remedies, f.Remedy)
		}
		if !slices.Contains(checks[f.Remedy], f.Check) {
			checks[f.Remedy] = append(checks[f.Remedy], f.Check)
		}
	}
	for i, r := range remedies {
		remedies[i] = strings.Join(checks[r], ", ") + ": " + r
	}
	return remedies
}

func writeFindings(w io.Writer, findings []doctor.Finding) error {
	rows := rowWriter{w: w}
	last := ""
	for _, f := range findings {
		name, status := f.Check, string(f.Status)
		if name == last {
			name = ""
		}
		last = f.Check
		if f.Status == doctor.Warn || f.Status == doctor.Fail {
			status = strings.ToUpper(status)
		}
		rows.add(name, "%s\t%s", status, f.Found)
		for _, d := range f.Details {
			rows.add("", "\t%s", d)
		}
	}
	return rows.err
}
