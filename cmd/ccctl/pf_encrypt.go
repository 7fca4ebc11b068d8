package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// pfEncrypt holds the flags of pf encrypt.
type pfEncrypt struct {
	key, in, out, path string
	format, jobs       int
	reproducible       bool
	force              bool
}

func newPFEncryptCommand(u *ui) *cobra.Command {
	var f pfEncrypt
	cmd := &cobra.Command{
		Use:   "encrypt -w KEYFILE -i IN -o OUT [--path ENCLAVE_PATH]",
		Short: "Encrypt a file, or every file below a directory",
		Long: `encrypt makes a protected file of IN. The path that Gramine will open it under
is embedded: ENCLAVE_PATH, or OUT as it was typed, normalised in either case
(a/./b becomes a/b) and printed. If IN is a directory, every file below it is
encrypted to the same name below OUT, and that name is joined to the path.

IN may be "-" for standard input. The output appears when it is complete; it
has the permission bits of the input.

--reproducible gives the same bytes for the same plaintext, key, path and
format, so that two machines agree on whether a file is up to date. Without it
keys are drawn at random and no two encryptions look alike.`,
		Example: `  ccctl pf gen-key -w wrap.key
  ccctl pf encrypt -w wrap.key -i saved_model.pb -o models/resnet50/1/saved_model.pb
  tar c model | ccctl pf encrypt -w wrap.key -i - -o model.tar --path data/model.tar`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), u) },
	}
	keyFlag(cmd, &f.key, `file with the wrap key, "-" for standard input`)
	cmd.Flags().StringVarP(&f.in, "input", "i", "", `file or directory to encrypt, "-" for standard input`)
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "protected file or directory to write")
	cmd.Flags().StringVar(&f.path, "path", "", "path under which Gramine opens the file (default: OUT)")
	cmd.Flags().IntVar(&f.format, "format", 1, "version of the file: 1, which every Gramine opens, or 2, which needs Gramine 1.9")
	cmd.Flags().BoolVar(&f.reproducible, "reproducible", false, "derive the node keys from the wrap key and the plaintext")
	cmd.Flags().BoolVar(&f.force, "force", false, "encrypt what is already encrypted, and replace an output that is not")
	jobsFlag(cmd, &f.jobs)
	verboseFlag(cmd)
	require(cmd, "input", "output")
	u.jsonFlag(cmd)
	return cmd
}

// jobsFlag gives a command its --jobs.
func jobsFlag(cmd *cobra.Command, jobs *int) {
	cmd.Flags().IntVar(jobs, "jobs", 0, "threads to work on (default: the number of cores)")
}

func (f *pfEncrypt) run(ctx context.Context, u *ui) error {
	switch {
	case f.format != 1 && f.format != 2:
		return usagef("--format %d does not exist: 1 or 2", f.format)
	case f.jobs < 0:
		return usagef("--jobs %d is negative", f.jobs)
	case f.in == "-" && f.key == "-":
		return usagef("-i and -w cannot both be standard input")
	case f.in == "-" && f.reproducible:
		return usagef("--reproducible reads the input twice, which standard input does not allow")
	case f.out == "-":
		return usagef("-o cannot be standard output: the beginning of a protected file is written last")
	}
	key, err := u.openKey(ctx, f.key)
	if err != nil {
		return err
	}
	files, err := pfFiles(f.in, f.out, f.path)
	if err != nil {
		return err
	}
	if f.path == "" && filepath.IsAbs(f.out) && !u.quiet {
		u.hint("without --path the file opens under " + f.out + " and nowhere else, as on this machine; a manifest usually mounts it elsewhere")
	}
	text := func(w io.Writer, r pfResult) {
		_, _ = fmt.Fprintf(w, "%s\tpath %s\tformat %d\t%d bytes\n", r.Output, r.Path, r.Format, *r.PlaintextSize)
	}
	return u.eachFile(ctx, files, text, func(file pfFile) (pfResult, error) { return f.one(ctx, u, key, file) })
}

func (f *pfEncrypt) one(ctx context.Context, u *ui, key protectedfile.Key, file pfFile) (pfResult, error) {
	if err := f.guard(file); err != nil {
		return pfResult{}, err
	}
	bar := u.bulk("encrypting", file.in)
	defer bar.finish()
	spec := deploy.EncryptSpec{
		Source: file.in, Destination: file.out, EnclavePath: file.path, Format: protectedfile.Format(f.format),
		Key: key, Reproducible: f.reproducible, Jobs: f.jobs, Progress: bar.add,
	}
	if file.in == "-" {
		spec.Source, spec.Input = "standard input", u.in
	}
	done, err := deploy.EncryptFile(ctx, spec)
	if err != nil {
		return pfResult{}, err
	}
	return pfResult{
		Output: file.out, Path: done.EnclavePath, Format: done.Format, WrapKey: done.KeyID, PlaintextSize: &done.PlaintextSize,
		EncryptedSize: done.EncryptedSize, DataNodes: done.DataNodes, HashNodes: done.HashNodes, HeaderSHA256: done.HeaderSHA256,
		Reproducible: &f.reproducible,
	}, nil
}

// guard catches swapped and repeated arguments. Replacing a protected file is
// the everyday case; what else lies at the output may be the only copy.
func (f *pfEncrypt) guard(file pfFile) error {
	if f.force {
		return nil
	}
	if file.in != "-" && isProtected(file.in) {
		return withHint(fmt.Errorf("encrypt %s: it is a protected file already", file.in), "use --force to encrypt it once more")
	}
	if info, err := os.Stat(file.out); err == nil && info.Mode().IsRegular() && info.Size() > 0 && !isProtected(file.out) {
		return withHint(fmt.Errorf("encrypt %s: the output %s exists and is not a protected file", file.in, file.out),
			"use --force to replace it; are -i and -o the right way round?")
	}
	return nil
}

// isProtected tells whether a file looks like a protected file, whole or not.
func isProtected(path string) bool {
	_, err := deploy.InspectEncryptedFile(path)
	var finding *protectedfile.Error
	return err == nil || errors.As(err, &finding) && !finding.Kind.Foreign() && sizeOf(path) > 0
}
