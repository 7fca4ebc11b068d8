package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/keyref"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func newPFCommand(u *ui) *cobra.Command {
	cmd := group("pf", "Protected files of Gramine: encrypt, decrypt, verify, inspect, rewrap",
		newPFGenKeyCommand(u), newPFEncryptCommand(u), newPFDecryptCommand(u),
		newPFVerifyCommand(u), newPFInspectCommand(u), newPFRewrapCommand(u))
	cmd.Long = `Protected files are what Gramine decrypts transparently inside an enclave that
holds the wrap key. gen-key, encrypt and decrypt take the flags of
gramine-sgx-pf-crypt with the same meaning, so that a script changes one word.

The path inside a file matters: Gramine opens the file only under the path it
was encrypted for, as the manifest writes it (the mount's uri without "file:",
and the rest of the path below the mount).

Where a command takes a wrap key, it takes the path of a file with 16 bytes, "-"
for standard input, or a reference:

  env:NAME                       a variable with 32 hex digits
  credential:NAME                a credential that systemd hands over
  vault:kv:MOUNT/PATH#FIELD      a secret in HashiCorp Vault or OpenBao
  vault:transit:MOUNT/KEY@FILE   a file that Vault's Transit engine unwraps
  kms:FILE                       a file that Alibaba Cloud's KMS decrypts
  kms:NAME=VALUE,...@FILE        the same with an encryption context

Vault is found and asked as the variables VAULT_ADDR, VAULT_TOKEN and so on say,
Alibaba Cloud as ALICLOUD_REGION, ALICLOUD_ACCESS_KEY and so on do. "ccctl
wrap-key seal" makes the files for Transit and KMS.`
	return cmd
}

func newPFGenKeyCommand(u *ui) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "gen-key -w KEYFILE",
		Short: "Draw a wrap key: 16 random bytes in a new file that only its owner may read",
		Long: `gen-key draws a wrap key from the system's random source and prints its
fingerprint. KEYFILE must not exist: a key that data may depend on is never
overwritten. Keep a copy where the data is not; without the key nothing opens it.`,
		Example: `  ccctl pf gen-key -w wrap.key`,
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			fingerprint, err := deploy.CreateWrapKey(file)
			if errors.Is(err, fs.ErrExist) {
				return withHint(err, "a key that data may depend on is never overwritten; choose another name or move the file away")
			}
			if err != nil {
				return err
			}
			return u.reportWrapKey(file, fingerprint)
		},
	}
	keyFlag(cmd, &file, "where to keep the new key")
	verboseFlag(cmd)
	u.jsonFlag(cmd)
	return cmd
}

// keyFlag gives a command its required -w.
func keyFlag(cmd *cobra.Command, file *string, usage string) {
	cmd.Flags().StringVarP(file, "wrap-key", "w", "", usage)
	require(cmd, "wrap-key")
}

// verboseFlag accepts the -v of gramine-sgx-pf-crypt. What it adds there is
// printed here anyway.
func verboseFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("verbose", "v", false, "")
	_ = cmd.Flags().MarkHidden("verbose")
}

// require makes flags mandatory, in the words of the other usage errors.
func require(cmd *cobra.Command, names ...string) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range names {
			if f := cmd.Flags().Lookup(name); f.Value.String() == "" {
				err := usagef("%s: flag -%s (--%s) is missing", cmd.CommandPath(), f.Shorthand, name)
				if f.Shorthand == "" {
					err = usagef("%s: flag --%s is missing", cmd.CommandPath(), name)
				}
				return withHint(err, "usage: %s", cmd.UseLine())
			}
		}
		return run(cmd, args)
	}
}

// openKey reads a wrap key: from a file, from where a reference says, or from
// standard input for "-".
func (u *ui) openKey(ctx context.Context, ref string) (protectedfile.Key, error) {
	switch {
	case ref == "-":
	case isKeyItself(ref):
		return protectedfile.Key{}, withHint(usagef("read wrap key: the key itself was given, and the name of a file with it is wanted"),
			"whoever sees this shell's history has that key now: draw another with 'ccctl pf gen-key'. A key that is in a variable is named env:NAME")
	case keyref.IsFile(ref):
		return deploy.OpenWrapKey(ref)
	default:
		return referredKey(ctx, ref)
	}
	raw, err := io.ReadAll(io.LimitReader(u.in, 4096))
	if err != nil {
		return protectedfile.Key{}, fmt.Errorf("read wrap key from standard input: %w", err)
	}
	key, err := protectedfile.ParseKey(raw)
	if err != nil {
		return protectedfile.Key{}, fmt.Errorf("read wrap key from standard input: %w", err)
	}
	return key, nil
}

// isKeyItself tells whether somebody gave a key in hex instead of a file. It must not end up in an error, as the name of a
// file that is not there would.
func isKeyItself(ref string) bool {
	if raw, err := hex.DecodeString(ref); err != nil || len(raw) != protectedfile.KeySize {
		return false
	}
	_, err := os.Lstat(ref)
	return err != nil
}

func referredKey(ctx context.Context, ref string) (key protectedfile.Key, err error) {
	environ := keysource.NewEnviron()
	defer environ.Close()
	source, err := keyref.Parse(ref, environ)
	if err != nil {
		return key, usagef("%w", err)
	}
	if err := source.Read(ctx, (*[keysource.Size]byte)(&key)); err != nil {
		return key, keySourceError(err)
	}
	return key, nil
}

// keySourceError gives an error of a place that keeps keys its exit code.
func keySourceError(err error) error {
	var unreachable *keysource.UnreachableError
	if errors.As(err, &unreachable) {
		return withCode(exitUnreachable, err)
	}
	return err
}

// protectedFileCode is the exit code of a finding about a protected file.
func protectedFileCode(err error) int {
	var finding *protectedfile.Error
	switch {
	case !errors.As(err, &finding):
		return exitOK
	case finding.Kind.Foreign():
		return exitFormat
	default:
		return exitNotGenuine
	}
}

// pfFile is a file to work on.
type pfFile struct {
	in, out string
	path    string // inside the protected file; empty where it does not matter
}

// pfResult is what a command reports of a file.
type pfResult struct {
	File          string               `json:"file"`
	Output        string               `json:"output,omitempty"`
	OK            bool                 `json:"ok"`
	Error         string               `json:"error,omitempty"`
	Kind          string               `json:"kind,omitempty"` // of the finding
	Offset        *int64               `json:"offset,omitempty"`
	Path          string               `json:"path,omitempty"`
	PathChecked   *bool                `json:"path_checked,omitempty"`
	Format        protectedfile.Format `json:"format,omitempty"`
	WrapKey       string               `json:"wrap_key,omitempty"`
	PlaintextSize *int64               `json:"plaintext_size,omitempty"`
	EncryptedSize int64                `json:"encrypted_size,omitempty"`
	DataNodes     int64                `json:"data_nodes,omitempty"`
	HashNodes     int64                `json:"hash_nodes,omitempty"`
	HeaderSHA256  string               `json:"header_sha256,omitempty"`
	Reproducible  *bool                `json:"reproducible,omitempty"`
	Warnings      []string             `json:"warnings,omitempty"`
	Note          string               `json:"note,omitempty"`
}

func reportResult(r protectedfile.Report, key protectedfile.Key) pfResult {
	res := pfResult{
		Path: r.Path, Format: r.Format, WrapKey: key.Fingerprint(), PlaintextSize: &r.Size, EncryptedSize: r.FileSize,
		DataNodes: r.DataNodes, HashNodes: r.HashNodes, HeaderSHA256: hex.EncodeToString(r.HeaderDigest[:]),
	}
	for _, w := range r.Warnings {
		res.Warnings = append(res.Warnings, w.Error())
	}
	return res
}

// eachFile works on files one after the other and goes on after one that
// fails. It reports all of them; of several exit codes the gravest counts.
func (u *ui) eachFile(ctx context.Context, files []pfFile, text func(w io.Writer, r pfResult), do func(pfFile) (pfResult, error)) error {
	var report struct {
		Files []pfResult `json:"files"`
	}
	var codes []int
	var last error
	for _, f := range files {
		res, err := do(f)
		if err != nil && ctx.Err() != nil {
			return err // interrupted: the rest was not tried
		}
		res.File, res.OK = f.in, err == nil
		for _, w := range res.Warnings {
			u.warn("%s: %s", f.in, w)
		}
		if err != nil {
			last = explainFinding(f.in, err)
			codes = append(codes, exitCode(last))
			res.Error = err.Error()
			var finding *protectedfile.Error
			if errors.As(err, &finding) {
				res.Kind, res.Offset = finding.Kind.String(), &finding.Offset
			}
			if len(files) > 1 {
				u.fail(last)
			}
		}
		report.Files = append(report.Files, res)
	}
	err := u.report(report, func(w io.Writer) error {
		for _, r := range report.Files {
			if r.OK {
				text(w, r)
			}
		}
		return nil
	})
	switch {
	case len(codes) == 0 || err != nil:
		return err
	case len(files) == 1:
		return last
	default:
		return withCode(gravest(codes...), fmt.Errorf("%d of %d files failed", len(codes), len(files)))
	}
}

// explainFinding adds what to do about a finding.
func explainFinding(file string, err error) error {
	var finding *protectedfile.Error
	if !errors.As(err, &finding) {
		return err
	}
	switch finding.Kind {
	case protectedfile.KindMetadataMAC, protectedfile.KindBadMagic, protectedfile.KindUnsupportedVersion:
		if deploy.RewrapInterrupted(file) {
			return withHint(err, "a rewrap of the file was interrupted; run it again to repair the file")
		}
		return err
	case protectedfile.KindWrongPath:
		return withHint(err, "Gramine opens it under the path it was encrypted for and no other: mount it there, or encrypt it anew with the right --path")
	case protectedfile.KindPendingRecovery:
		return withHint(err, "give the recovery file with --recovery, or read what is there with --allow-pending")
	default:
		return err
	}
}

// pfFiles pairs inputs and outputs: two files, or all files below two
// directories. The path inside is path, or output where that is empty; below a
// directory the rest of the name is joined to it.
func pfFiles(in, out, path string) ([]pfFile, error) {
	if path == "" {
		path = out
	}
	if !isDir(in) {
		return []pfFile{{in: in, out: out, path: path}}, nil
	}
	if inside, err := isInside(out, in); err != nil || inside {
		return nil, usagef("the output directory %s is inside the input directory %s", out, in)
	}
	names, err := filesBelow(in)
	if err != nil {
		return nil, err
	}
	files := make([]pfFile, 0, len(names))
	for _, name := range names {
		files = append(files, pfFile{
			in: filepath.Join(in, name), out: filepath.Join(out, name),
			path: strings.TrimSuffix(path, "/") + "/" + filepath.ToSlash(name),
		})
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.out), 0o755); err != nil { //nolint:gosec // As mkdir does.
			return nil, fmt.Errorf("make output directory: %w", err)
		}
	}
	return files, nil
}

// isDir tells whether there is a directory; of anything else, opening it says
// what is wrong.
func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// filesBelow lists everything below a directory that is not a directory,
// relative to it and sorted. Links to directories are not followed, for they
// may lead back; they are listed and fail as what they are.
func filesBelow(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("list %s: the directory holds no files", dir)
	}
	return names, nil
}

// isInside tells whether a path is a directory or below it.
func isInside(path, dir string) (bool, error) {
	p, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	d, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	rel, err := filepath.Rel(d, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), nil
}

// sizeOf is the size of a file for its progress bar, -1 when unknown.
func sizeOf(file string) int64 {
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return -1
}
