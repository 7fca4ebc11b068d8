package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // also: refused by the server
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is an error of wrong usage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// streams is where the commands write: results to out, everything else to err.
type streams struct{ out, err io.Writer }

func (s *streams) note(format string, a ...any) { _, _ = fmt.Fprintf(s.err, format+"\n", a...) }

// mainExit runs the command line of this process and returns its exit code.
func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// run is the whole program but for the process.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	s := &streams{out, errOut}
	root := newRootCommand(s)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		s.note("ccsim: interrupted")
		return exitInterrupted
	}
	s.note("ccsim: %v", err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newRootCommand(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "ccsim",
		Short: "Impersonate SGX, Intel's collateral service, Gramine enclaves and Alibaba Cloud for tests and demonstrations",
		Long: `ccsim makes a simulated SGX platform with a root of its own, unmistakably named, serves its collateral as a
PCCS does, and plays enclaves that attest to a key server. Nothing it makes proves anything about any
hardware; a verifier accepts it only when told to trust the simulated root. It also plays Alibaba Cloud, where
machines are folders.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see 'ccsim --help'", args[0])
			}
			return usagef("a command is missing; see 'ccsim --help'")
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s: %w; see '%s --help'", cmd.CommandPath(), err, cmd.CommandPath())
	})
	root.AddCommand(newPCCSCommand(s), newRootCertCommand(s), newCollateralCommand(s), newQuoteCommand(s), newEnclaveCommand(s), newECSCommand(s))
	for _, cmd := range root.Commands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s: unexpected argument %q", cmd.CommandPath(), args[0])
			}
			return nil
		}
	}
	return root
}

// platformFlag is --platform of every command.
type platformFlag struct{ dir string }

func (p *platformFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dir, "platform", "", "directory of the simulated platform (required)")
}

func (p *platformFlag) check() error {
	if p.dir == "" {
		return usagef("--platform is missing: name the directory of the simulated platform")
	}
	return nil
}

// open opens a platform that must exist: a misspelt directory must not become a second platform with another root.
func (p *platformFlag) open() (*sgxsim.Platform, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	platform, err := sgxsim.Open(p.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; 'ccsim pccs' makes a platform where there is none", err)
	}
	return platform, err
}

// identityFlags say which enclave is simulated.
type identityFlags struct {
	mrenclave, mrsigner string
	prodID, svn         uint16
	debug               bool
}

func (f *identityFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mrenclave, "mrenclave", "", "MRENCLAVE, 64 hex digits (required)")
	cmd.Flags().StringVar(&f.mrsigner, "mrsigner", "", "MRSIGNER, 64 hex digits (default zeros)")
	cmd.Flags().Uint16Var(&f.prodID, "isv-prod-id", 0, "ISVPRODID")
	cmd.Flags().Uint16Var(&f.svn, "isv-svn", 0, "ISVSVN")
	cmd.Flags().BoolVar(&f.debug, "debug", false, "run the enclave in debug mode")
}

func (f *identityFlags) identity() (sgxsim.Identity, error) {
	id := sgxsim.Identity{ISVProdID: f.prodID, ISVSVN: f.svn, Debug: f.debug}
	if f.mrenclave == "" {
		return id, usagef("--mrenclave is missing: say which enclave to simulate")
	}
	if err := parseHex(id.MRENCLAVE[:], "mrenclave", f.mrenclave); err != nil {
		return id, err
	}
	if f.mrsigner == "" {
		return id, nil
	}
	return id, parseHex(id.MRSIGNER[:], "mrsigner", f.mrsigner)
}

// parseHex fills dst from exactly as many hex digits.
func parseHex(dst []byte, flag, text string) error {
	if len(text) != 2*len(dst) {
		return usagef("--%s: found %d characters, want %d hex digits", flag, len(text), 2*len(dst))
	}
	if _, err := hex.Decode(dst, []byte(text)); err != nil {
		return usagef("--%s: %w", flag, err)
	}
	return nil
}
