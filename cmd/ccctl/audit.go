package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
)

func newAuditCommand(u *ui) *cobra.Command {
	return group("audit", "Check a key server's account of itself", newAuditVerifyCommand(u), newAuditGenKeyCommand(u))
}

func newAuditVerifyCommand(u *ui) *cobra.Command {
	var keyFile string
	var checkpoints []string
	var archived, joined bool
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Find any entry of an audit log that was changed, removed, moved or added",
		Long: `verify reads an audit log from its beginning and checks that every entry follows
the one before it. By itself that finds every change but one that rewrites all
entries to the end, or cuts the end off. A log that went on in other files,
FILE.000000000001 and so on, is one log: they are found beside FILE, or all are
given in order. The server may be running.

With --key the checkpoints in the log, which the server has signed, are checked
too. With --checkpoint the log is held against checkpoints that were copied from
FILE.checkpoint to another machine: whoever rewrites the log or cuts it off can
not change those. Entries after the last checkpoint could still be missing. The
server's log has every checkpoint too, in lines "audit checkpoint".

With --archived the first files may have been taken elsewhere: what was in them
is as the server has signed it. With --joined FILE is what was collected of the
server's standard output (audit.copy_to_stdout), where files follow each other.

Exit codes: 3 not an audit log, 4 not what was written.`,
		Example: `  ccctl audit verify audit.log
  ccctl audit verify audit.log --key audit.pub --checkpoint audit.log.checkpoint`,
		Args: args("FILE..."),
		RunE: func(_ *cobra.Command, a []string) error {
			opts := audit.VerifyOptions{AllowMissingBeginning: archived, Joined: joined}
			if archived && keyFile == "" {
				return usagef("ccctl audit verify: --archived needs --key")
			}
			if len(checkpoints) > 0 && keyFile == "" {
				return usagef("ccctl audit verify: --checkpoint needs --key")
			}
			if keyFile != "" {
				raw, err := os.ReadFile(keyFile)
				if err != nil {
					return fmt.Errorf("read verification key: %w", err)
				}
				if opts.Verifier, err = audit.ParseVerifier(string(raw)); err != nil {
					return withCode(exitFormat, err)
				}
			}
			for _, name := range checkpoints {
				raw, err := os.ReadFile(name)
				if err != nil {
					return fmt.Errorf("read checkpoint: %w", err)
				}
				c, err := audit.ReadCheckpoint(raw, opts.Verifier)
				if err != nil {
					return withCode(exitNotGenuine, fmt.Errorf("%w (%s)", err, name))
				}
				opts.Checkpoints = append(opts.Checkpoints, c)
			}
			report, err := audit.VerifyFiles(a, opts)
			if err != nil {
				return auditError(err)
			}
			if report.Signed == 0 {
				u.warn("no checkpoint was checked: entries at the end could be missing, or all of them rewritten")
			}
			return u.report(report, func(w io.Writer) error { return printAuditReport(w, report) })
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "`FILE` with the key that 'ccctl audit gen-key' printed")
	cmd.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "`FILE` with a checkpoint that was copied from the log's host (repeatable)")
	cmd.Flags().BoolVar(&archived, "archived", false, "accept that the log's first files are elsewhere")
	cmd.Flags().BoolVar(&joined, "joined", false, "the log's files follow each other in FILE")
	u.jsonFlag(cmd)
	return cmd
}

func auditError(err error) error {
	var failure *audit.Error
	switch {
	case !errors.As(err, &failure):
		return err
	case failure.NotALog:
		return withCode(exitFormat, err)
	default:
		return withCode(exitNotGenuine, err)
	}
}

func printAuditReport(w io.Writer, r *audit.Report) error {
	entries := strconv.FormatUint(r.Entries, 10)
	if r.FirstEntry > 1 {
		entries = fmt.Sprintf("%d to %d", r.FirstEntry, r.Entries)
	}
	if r.Files > 1 {
		entries += fmt.Sprintf(" in %d files", r.Files)
	}
	_, err := fmt.Fprintf(w, "entries\t%s, of %s to %s\nreleases\t%d\nrefusals\t%d\nconfigurations\t%d loaded, %d refused\nlast entry\tsha256 %s\n",
		entries, r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339), r.Events["release"], r.Events["refuse"],
		r.Events["config"], r.Events["config_refused"], r.Head)
	if err == nil && r.Signed > 0 {
		_, err = fmt.Fprintf(w, "checkpoints\t%d, the last of %d entries\n", r.Checkpoints, r.Signed)
	}
	return err
}

func newAuditGenKeyCommand(u *ui) *cobra.Command {
	return newNoteKeyCommand(u, audit.GenerateKey, "Make the key that signs an audit log's checkpoints",
		`gen-key writes a signing key for the configuration's audit.checkpoint_key to FILE
and prints the key that 'ccctl audit verify --key' takes. Keep that one on another
machine: whoever has the signing key, which a server keeps beside its log, can
sign checkpoints for a rewritten log.`,
		"  ccctl audit gen-key --name keys.example.com -o checkpoint.key >audit.pub", "the server, such as keys.example.com")
}

// newNoteKeyCommand makes a pair of keys for signed notes: the secret one in a file, the other one on stdout.
func newNoteKeyCommand(u *ui, generate func(name string) (secret, public string, err error), short, long, example, whose string) *cobra.Command {
	var out, name string
	cmd := &cobra.Command{
		Use:     "gen-key --name NAME -o FILE",
		Short:   short,
		Long:    long,
		Example: example,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"name", "output"} {
				if err := needFlag(cmd, flag); err != nil {
					return err
				}
			}
			secret, public, err := generate(name)
			if err != nil {
				return withCode(exitUsage, err)
			}
			if err := atomicfile.WriteNew(out, []byte(secret+"\n"), 0o600); err != nil {
				return err
			}
			return u.report(map[string]string{"file": out, "verification_key": public}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, public)
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write the signing key to; it must not exist")
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of "+whose)
	u.jsonFlag(cmd)
	return cmd
}
