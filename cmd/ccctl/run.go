package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// mainExit runs the command line of this process and returns its exit code.
func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// run is the whole program but for the process: it reads and writes nothing
// but what it is given.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	u := newUI(in, out, errOut)
	root := newRootCommand(u)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	if err := root.ExecuteContext(ctx); err != nil {
		u.fail(err)
		return exitCode(err)
	}
	return exitOK
}

// nouns lists the commands below the root, in the order of the help text.
func nouns(u *ui) []*cobra.Command {
	return []*cobra.Command{
		newPFCommand(u),
		newWrapKeyCommand(u),
		newModelCommand(u),
		newTLSCommand(u),
		newSigstructCommand(u),
		newManifestCommand(u),
		newQuoteCommand(u),
		newCollateralCommand(u),
		newKeyserverCommand(u),
		newPolicyCommand(u),
		newAuditCommand(u),
		newBootstrapCommand(u),
		newDoctorCommand(u),
		newVersionCommand(u),
		newCompletionCommand(u),
		newManCommand(u),
	}
}

// exitCodes tells people what the exit codes mean.
const exitCodes = `  0  done
  1  operation failed
  2  wrong usage
  3  not this format: bad magic, unsupported version, unparseable
  4  not genuine: bad MAC or signature, tampered, truncated, wrong path
  5  genuine, but refused by policy
  6  unreachable: network or collateral service`

func newRootCommand(u *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "ccctl",
		Short: "Confidential TensorFlow Serving on SGX: files, keys, quotes and the key server",
		Long: `ccctl handles what a confidential inference service on Intel SGX and Gramine
needs: protected files, SavedModels, TLS materials, attestation quotes, and the
server that releases the wrap key to an attested enclave. It calls no other
program and no SGX hardware.

Exit codes:
` + exitCodes + `
With several files the gravest wins: 4, then 3, then 1.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("ccctl {{.Version}}\n")
	root.PersistentFlags().BoolVarP(&u.quiet, "quiet", "q", false, "print nothing but results and errors")
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(nouns(u)...)
	finish(root)
	completeValues(root)
	return root
}

// group returns a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(commands...)
	return cmd
}

// finish makes every command refuse what it does not know with exit code 2: a
// misspelt verb must not print a help text and report success to a script.
func finish(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		finish(sub)
	}
	if !cmd.Runnable() {
		if cmd.Example == "" {
			cmd.Example = firstExamples(cmd)
		}
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(cmd.ErrOrStderr())
				if err := cmd.Help(); err != nil {
					return err
				}
				return usagef("%s: a command is missing", cmd.CommandPath())
			}
			return unknownCommand(cmd, args)
		}
		return
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return explainFiles(cmd, args, run(cmd, args)) }
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return withHint(usagef("%s: %w", cmd.CommandPath(), err), "usage: %s", cmd.UseLine())
			}
			return nil
		}
	}
}

// firstExamples is the first example of each command below a group.
func firstExamples(cmd *cobra.Command) string {
	var all []string
	for _, sub := range cmd.Commands() {
		if sub.Hidden || !sub.HasExample() {
			continue
		}
		lines := strings.SplitAfter(sub.Example, "\n")
		n := 1
		for n < len(lines) && strings.HasSuffix(lines[n-1], "\\\n") {
			n++
		}
		all = append(all, strings.TrimSuffix(strings.Join(lines[:n], ""), "\n"))
	}
	return strings.Join(all, "\n")
}

// args accepts the positional arguments that the usage line names, such as
// args("FILE") for exactly one; a last name ending in "..." takes one or more.
func args(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, got []string) error {
		if len(got) < len(names) {
			return fmt.Errorf("argument %s is missing", names[len(got)])
		}
		if n := len(names); len(got) > n && (n == 0 || !strings.HasSuffix(names[n-1], "...")) {
			return fmt.Errorf("unexpected argument %q", got[n])
		}
		return nil
	}
}
