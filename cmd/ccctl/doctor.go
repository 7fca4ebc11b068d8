package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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
	local     bool
	cloud     bool
	host      hostFlags
}

// hostFlags name a machine that is reached by SSH.
type hostFlags struct {
	address, identity, knownHosts string
	sudo                          bool
}

func (h *hostFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.address, "host", "", "examine the machine `[USER@]HOST[:PORT]`, by SSH (default: root and 22)")
	cmd.Flags().StringVar(&h.identity, "identity", "", "`FILE` with the private key for --host (default: the SSH agent's keys)")
	cmd.Flags().StringVar(&h.knownHosts, "known-hosts", "", "`FILE` with the key of --host (default: ~/.ssh/known_hosts)")
	cmd.Flags().BoolVar(&h.sudo, "sudo", false, "become root on --host with sudo -n")
}

// options turns the flags into the machine's; nil if none is named.
func (h *hostFlags) options(cmd *cobra.Command) (*doctor.HostOptions, error) {
	if h.address == "" {
		if h.identity != "" || h.knownHosts != "" || h.sudo {
			return nil, usagef("%s: --identity, --known-hosts and --sudo go with --host", cmd.CommandPath())
		}
		return nil, nil //nolint:nilnil // None is named.
	}
	user, address, found := strings.Cut(h.address, "@")
	if !found {
		user, address = "root", h.address
	}
	if host := strings.Trim(address, "[]"); !strings.Contains(address, ":") || net.ParseIP(host) != nil {
		address = net.JoinHostPort(host, "22")
	}
	if _, err := splitAddress(cmd, "--host", address, "22"); err != nil || user == "" {
		return nil, withHint(usagef("%s: --host %q is not [USER@]HOST[:PORT]", cmd.CommandPath(), h.address), "write it as root@192.0.2.7:22")
	}
	conf := doctor.SSHConfig{Address: address, User: user, PrivateKeyFile: h.identity, KnownHosts: h.knownHosts, Sudo: h.sudo}
	if h.identity == "" {
		conf.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
	}
	if h.knownHosts == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find known_hosts: %w", err)
		}
		conf.KnownHosts = filepath.Join(home, ".ssh", "known_hosts")
	}
	return &doctor.HostOptions{SSH: conf, Now: time.Now}, nil
}

func newDoctorCommand(u *ui) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE] [--pccs URL | --region REGION | --qcnl FILE | --collateral FILE] [--fmspc HEX | --quote FILE] [--host HOST] [--cloud] [--local]",
		Short: "Look for what keeps an installation from working, or soon will",
		Long: `doctor examines what its flags name, and without any what it finds: this machine,
the account of Alibaba Cloud that the environment names, and the collateral service
of ` + pccs.QCNLPath + `. Every finding says what to do.

A key server (--config) and its collateral service: the configuration with the
files it names; whether the service is reached, which version of the API it speaks,
whether its clock and this machine's agree, whether what it serves is genuine and
current, and when each document and each certificate expires. For a family of
platforms (--fmspc, or --quote with a quote of one) it also compares the early set
of TCB levels with the standard one: what the next TCB recovery will make of them.
The service is the one that a flag names, else the configuration's, else that of
` + pccs.QCNLPath + ` (QCNL_CONF_PATH), the configuration of Intel's
quote provider library.

The cloud (--cloud): where the credentials come from, which are never printed;
whether they are accepted, and whether ECS answers them. The environment variables
are the provider's.

A machine (--host): whether SSH reaches it and it is the one that is known, its
system, clock, room and rights, Docker, and whether enclaves could run there.

This machine (--local): Terraform and Docker.

It changes nothing. Exit codes: 0 nothing has failed, although there may be
warnings; 1 a check has failed; 4 what the service serves is not genuine, or the
machine is another one than is known; 6 something cannot be reached.`,
		Example: `  ccctl doctor
  ccctl doctor --config server.yaml
  ccctl doctor --region cn-beijing --quote quote.bin --json
  ccctl doctor --cloud --host root@192.0.2.7 --identity key.pem`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, err := f.checks(cmd)
			if err != nil {
				return err
			}
			findings, err := doctor.Run(cmd.Context(), checks)
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
	f.host.add(cmd)
	cmd.Flags().BoolVar(&f.cloud, "cloud", false, "examine the account that the environment names")
	cmd.Flags().BoolVar(&f.local, "local", false, "examine this machine")
	u.jsonFlag(cmd)
	return cmd
}

// checks are those that the flags ask for, or that there is ground for.
func (f *doctorFlags) checks(cmd *cobra.Command) ([]doctor.Check, error) {
	host, err := f.host.options(cmd)
	if err != nil {
		return nil, err
	}
	installation := f.config != "" || f.service.given() > 0 || f.file != "" || f.fmspc != "" || f.quoteFile != "" || f.root != ""
	everything := !installation && !f.local && !f.cloud && host == nil
	var checks []doctor.Check
	if f.local || everything {
		checks = append(checks, doctor.Local()...)
	}
	if f.cloud || everything {
		checks = append(checks, doctor.Cloud(doctor.CloudOptions{Setting: doctor.Environment, Wanted: f.cloud})...)
	}
	if host != nil {
		checks = append(checks, doctor.Host(*host)...)
	}
	if installation || everything && isFile(qcnlFile()) {
		opts, err := f.options()
		if err != nil {
			return nil, err
		}
		checks = append(checks, doctor.Installation(opts)...)
	}
	return checks, nil
}

// qcnlFile is the configuration of Intel's quote provider library.
func qcnlFile() string { return cmp.Or(os.Getenv("QCNL_CONF_PATH"), pccs.QCNLPath) }

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.IsDir()
}

// classifyFinding tells the exit codes of what package doctor finds itself.
func classifyFinding(err error) int {
	switch {
	case errors.Is(err, doctor.ErrNotGenuine):
		return exitNotGenuine
	case errors.Is(err, doctor.ErrUnreachable):
		return exitUnreachable
	}
	return exitOK
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
		f.service.qcnl = qcnlFile()
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
