package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func newPFVerifyCommand(u *ui) *cobra.Command {
	var f pfReading
	cmd := &cobra.Command{
		Use:   "verify -w KEYFILE [--path ENCLAVE_PATH] [--strict] FILE...",
		Short: "Authenticate whole protected files; nothing is written",
		Long: `verify decrypts every node of each FILE in memory and says where one does not
authenticate. A directory stands for all files below it; what is below it is
then joined to --path.

The format leaves some bytes unauthenticated: the minor version, padding, flags
of format 2, and whole nodes after the last one. Oddities there do not change
the plaintext and are warned of; --strict refuses them. That a file is an older
one of the same key and path cannot be seen.`,
		Example: `  ccctl pf verify -w wrap.key --path models --strict models
  ccctl pf verify -w vault:kv:secret/resnet50#wrap_key --json models/resnet50/1/saved_model.pb`,
		Args: args("FILE..."),
		RunE: func(cmd *cobra.Command, args []string) error { return f.verify(cmd.Context(), u, args) },
	}
	keyFlag(cmd, &f.key, `file with the wrap key, "-" for standard input`)
	f.flags(cmd)
	u.jsonFlag(cmd)
	return cmd
}

func (f *pfReading) verify(ctx context.Context, u *ui, names []string) error {
	if f.jobs < 0 {
		return usagef("--jobs %d is negative", f.jobs)
	}
	key, err := u.openKey(ctx, f.key)
	if err != nil {
		return err
	}
	files, err := f.expand(names)
	if err != nil {
		return err
	}
	text := func(w io.Writer, r pfResult) {
		_, _ = fmt.Fprintf(w, "%s\tgenuine\t%s\t%d bytes\n", r.File, pathRemark(r), *r.PlaintextSize)
	}
	return u.eachFile(ctx, files, text, func(file pfFile) (pfResult, error) {
		return f.read(u, "verifying", key, file, func(opts protectedfile.ReaderOptions) (protectedfile.Report, error) {
			return deploy.VerifyFile(ctx, file.in, key, opts)
		})
	})
}

// expand replaces directories by the files below them.
func (f *pfReading) expand(names []string) ([]pfFile, error) {
	var files []pfFile
	for _, name := range names {
		if !isDir(name) {
			files = append(files, pfFile{in: name, path: f.path})
			continue
		}
		below, err := filesBelow(name)
		if err != nil {
			return nil, err
		}
		for _, b := range below {
			files = append(files, pfFile{in: name + string(os.PathSeparator) + b, path: f.path + "/" + b})
		}
	}
	return files, nil
}

func newPFInspectCommand(u *ui) *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "inspect [-w KEYFILE] FILE",
		Short: "Show what a protected file says about itself",
		Long: `inspect shows the header of FILE. Without the wrap key nothing of it is
authenticated: anybody could have written it. With the key, the metadata and
the first hash node are; "ccctl pf verify" authenticates the rest.`,
		Example: `  ccctl pf inspect models/resnet50/1/saved_model.pb
  ccctl pf inspect -w wrap.key models/resnet50/1/saved_model.pb --json`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keyFile == "" {
				return inspectHeader(u, args[0])
			}
			return inspectMetadata(cmd.Context(), u, args[0], keyFile)
		},
	}
	cmd.Flags().StringVarP(&keyFile, "wrap-key", "w", "", `file with the wrap key, "-" for standard input`)
	u.jsonFlag(cmd)
	return cmd
}

// pfHeader is the report of inspect without a key.
type pfHeader struct {
	File             string               `json:"file"`
	Authenticated    string               `json:"authenticated"`
	Format           protectedfile.Format `json:"format"`
	MinorVersion     uint8                `json:"minor_version"`
	Pending          bool                 `json:"pending"`
	EncryptedSize    int64                `json:"encrypted_size"`
	Nodes            int64                `json:"nodes"`
	MinPlaintextSize int64                `json:"min_plaintext_size"`
	MaxPlaintextSize int64                `json:"max_plaintext_size"`
	HeaderSHA256     string               `json:"header_sha256"`
	Warnings         []string             `json:"warnings,omitempty"`
}

func inspectHeader(u *ui, file string) error {
	h, err := deploy.InspectEncryptedFile(file)
	if err != nil {
		return explainFinding(file, err)
	}
	report := pfHeader{
		File: file, Authenticated: "nothing", Format: h.Format, MinorVersion: h.MinorVersion, Pending: h.Pending,
		EncryptedSize: h.FileSize, Nodes: h.Nodes, MinPlaintextSize: h.MinPlaintextSize, MaxPlaintextSize: h.MaxPlaintextSize,
		HeaderSHA256: hex.EncodeToString(h.Digest[:]),
	}
	for _, w := range h.Warnings {
		report.Warnings = append(report.Warnings, w.Error())
		u.warn("%s: %v", file, w)
	}
	if h.Pending {
		u.warn("%s: a write to it was interrupted", file)
	}
	return u.report(report, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "file\t%s\nformat\t%d.%d (%s)\nencrypted size\t%d bytes, %d nodes\nplaintext size\t%d to %d bytes\nheader SHA-256\t%s\nauthenticated\tnothing: give the wrap key with -w\n",
			report.File, h.Format, h.MinorVersion, readers(h.Format), h.FileSize, h.Nodes, h.MinPlaintextSize, h.MaxPlaintextSize, report.HeaderSHA256)
		return err
	})
}

// readers says which Gramine opens a format.
func readers(f protectedfile.Format) string {
	if f == protectedfile.FormatV2 {
		return "Gramine 1.9 and later"
	}
	return "Gramine 1.0 and later"
}

func inspectMetadata(ctx context.Context, u *ui, file, keyFile string) error {
	key, err := u.openKey(ctx, keyFile)
	if err != nil {
		return err
	}
	report, err := deploy.OpenFile(file, key, protectedfile.ReaderOptions{AllowAnyPath: true, AllowPending: true})
	if err != nil {
		return explainFinding(file, err)
	}
	res := reportResult(report, key)
	res.File, res.OK, res.Note = file, true, "metadata authenticated; verify authenticates the rest"
	for _, w := range res.Warnings {
		u.warn("%s: %s", file, w)
	}
	return u.report(res, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "file\t%s\npath\t%s\nformat\t%d (%s)\nwrap key\t%s\nplaintext size\t%d bytes\nencrypted size\t%d bytes, 1 + %d data + %d hash nodes\nheader SHA-256\t%s\nauthenticated\tthe metadata; verify authenticates the rest\n",
			file, res.Path, res.Format, readers(res.Format), res.WrapKey, *res.PlaintextSize, res.EncryptedSize, res.DataNodes, res.HashNodes, res.HeaderSHA256)
		return err
	})
}
