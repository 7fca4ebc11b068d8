package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// pfReading holds the flags of the commands that open protected files.
type pfReading struct {
	key, path    string
	verifyPath   bool
	strict       bool
	recovery     string
	allowPending bool
	jobs         int
}

func (f *pfReading) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "path", "", "path that the file must have been made for, as Gramine would open it")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "refuse what is only warned of: oddities in what the format does not authenticate")
	cmd.Flags().StringVar(&f.recovery, "recovery", "", "recovery file of a write that was interrupted (format 2); applied in memory")
	cmd.Flags().BoolVar(&f.allowPending, "allow-pending", false, "read a file whose last write was interrupted (format 2) as it is")
	jobsFlag(cmd, &f.jobs)
}

// options are what to insist on for one file. The caller closes the recovery
// file.
func (f *pfReading) options(file pfFile, bar *bulk) (protectedfile.ReaderOptions, io.Closer, error) {
	opts := protectedfile.ReaderOptions{Strict: f.strict, AllowPending: f.allowPending, Jobs: f.jobs, Progress: bar.add}
	switch {
	case f.verifyPath:
		opts.Path = file.in
	case f.path != "":
		opts.Path = file.path
	default:
		// As gramine-sgx-pf-crypt; what the path is, is printed.
		opts.AllowAnyPath = true
	}
	if f.recovery == "" {
		return opts, io.NopCloser(nil), nil
	}
	log, err := os.Open(f.recovery)
	if err != nil {
		return opts, nil, fmt.Errorf("open recovery file: %w", err)
	}
	info, err := log.Stat()
	if err != nil {
		_ = log.Close()
		return opts, nil, fmt.Errorf("open recovery file: %w", err)
	}
	opts.Recovery, opts.RecoverySize = log, info.Size()
	return opts, log, nil
}

// read runs do on a file with the options for it, and reports.
func (f *pfReading) read(u *ui, what string, key protectedfile.Key, file pfFile, do func(protectedfile.ReaderOptions) (protectedfile.Report, error)) (pfResult, error) {
	bar := u.bulk(what, file.in)
	defer bar.finish()
	opts, recovery, err := f.options(file, bar)
	if err != nil {
		return pfResult{}, err
	}
	defer func() { _ = recovery.Close() }()
	report, err := do(opts)
	if err != nil {
		return pfResult{}, err
	}
	res := reportResult(report, key)
	checked := !opts.AllowAnyPath
	res.PathChecked = &checked
	return res, nil
}

func pathRemark(r pfResult) string {
	if *r.PathChecked {
		return "path " + r.Path
	}
	return "path " + r.Path + " (not checked)"
}

// pfDecrypt holds the flags of pf decrypt.
type pfDecrypt struct {
	pfReading

	in, out string
}

func newPFDecryptCommand(u *ui) *cobra.Command {
	var f pfDecrypt
	cmd := &cobra.Command{
		Use:   "decrypt -w KEYFILE -i IN -o OUT [--path ENCLAVE_PATH] [-V]",
		Short: "Decrypt a protected file, or every one below a directory",
		Long: `decrypt writes the plaintext of IN to OUT. The output appears when every node
has been authenticated, and is never readable by others than the owner and the
group of the input. OUT may be "-" for standard output: the file is then read
twice, and nothing is printed before all of it has been authenticated.

The path inside is compared with --path, or with IN as it was typed with -V, as
gramine-sgx-pf-crypt does it. With neither it is printed and not compared: the
file may then be another one of the same key.`,
		Example: `  ccctl pf decrypt -w wrap.key -i models/resnet50/1/saved_model.pb -o saved_model.pb \
      --path models/resnet50/1/saved_model.pb
  ccctl pf decrypt -w wrap.key -i model.tar -o - | tar x
  ccctl pf decrypt -w wrap.key -i table -o table.txt --recovery table.gramine.recovery`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), u) },
	}
	keyFlag(cmd, &f.key, `file with the wrap key, "-" for standard input`)
	cmd.Flags().StringVarP(&f.in, "input", "i", "", "protected file or directory to decrypt")
	cmd.Flags().StringVarP(&f.out, "output", "o", "", `file or directory to write, "-" for standard output`)
	cmd.Flags().BoolVarP(&f.verifyPath, "verify", "V", false, "insist that the file was made for the path IN")
	f.flags(cmd)
	verboseFlag(cmd)
	require(cmd, "input", "output")
	u.jsonFlag(cmd)
	return cmd
}

func (f *pfDecrypt) run(ctx context.Context, u *ui) error {
	switch {
	case f.verifyPath && f.path != "":
		return usagef("-V and --path exclude each other")
	case f.jobs < 0:
		return usagef("--jobs %d is negative", f.jobs)
	case f.in == "-":
		return usagef("-i cannot be standard input: a protected file is not read from front to back")
	case f.out == "-" && u.json:
		return usagef("--json and -o - both write to standard output")
	}
	key, err := u.openKey(ctx, f.key)
	if err != nil {
		return err
	}
	if f.out == "-" {
		return f.toStdout(ctx, u, key)
	}
	files, err := pfFiles(f.in, f.out, f.path)
	if err != nil {
		return err
	}
	text := func(w io.Writer, r pfResult) {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d bytes\n", r.Output, pathRemark(r), *r.PlaintextSize)
	}
	return u.eachFile(ctx, files, text, func(file pfFile) (pfResult, error) {
		res, err := f.read(u, "decrypting", key, file, func(opts protectedfile.ReaderOptions) (protectedfile.Report, error) {
			return deploy.DecryptFile(ctx, deploy.DecryptSpec{Source: file.in, Destination: file.out, Key: key, Options: opts})
		})
		res.Output = file.out
		return res, err
	})
}

func (f *pfDecrypt) toStdout(ctx context.Context, u *ui, key protectedfile.Key) error {
	file := pfFile{in: f.in, path: f.path}
	res, err := f.read(u, "decrypting", key, file, func(opts protectedfile.ReaderOptions) (protectedfile.Report, error) {
		return deploy.DecryptTo(ctx, u.out, deploy.DecryptSpec{Source: file.in, Key: key, Options: opts})
	})
	if err != nil {
		return explainFinding(f.in, err)
	}
	for _, w := range res.Warnings {
		u.warn("%s: %s", f.in, w)
	}
	u.note("%s: %s, %d bytes", f.in, pathRemark(res), *res.PlaintextSize)
	return nil
}
