package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/manifest"
)

func newManifestCommand(u *ui) *cobra.Command {
	return group("manifest", "Check a Gramine manifest against what it will run with", newManifestCheckCommand(u))
}

// classifyManifest tells the exit codes of package manifest.
func classifyManifest(err error) int {
	if errors.Is(err, manifest.ErrTemplate) || errors.Is(err, manifest.ErrFormat) {
		return exitFormat
	}
	return exitOK
}

// manifestCheck is what `manifest check` is asked.
type manifestCheck struct {
	artifacts, keyFile, certificate, sigstruct, at string
}

func newManifestCheckCommand(u *ui) *cobra.Command {
	var c manifestCheck
	cmd := &cobra.Command{
		Use:   "check MANIFEST",
		Short: "Find out whether the enclave will get its key and open its files, and what the host could change",
		Long: `check reads a rendered Gramine manifest, best the .manifest.sgx that
gramine-sgx-sign writes, and looks at what decides whether a confidential service
starts and stays confidential:

  - the enclave is no debug enclave and can attest itself
  - the variables of secret provisioning are fixed in the manifest, not the host's
  - the authority's certificate is a trusted file with the right hash
  - with --server-certificate: the enclave will take the key server for yours
  - every encrypted mount has its file, made for exactly that path (-w), and its
    key is the one that secret provisioning installs
  - ssl.cfg is encrypted, and nothing secret is an allowed file
  - with --sigstruct: the SIGSTRUCT belongs to this manifest

--artifacts is the folder that will be the working directory of gramine-sgx.
The exit code is 5 if anything is wrong, and 4 if a file is not genuine.`,
		Example: `  ccctl manifest check tensorflow_model_server.manifest.sgx --artifacts . -w wrap-key \
    --server-certificate ssl_configure/server/cert.pem`,
		Args: args("MANIFEST"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), u, args[0]) },
	}
	cmd.Flags().StringVar(&c.artifacts, "artifacts", "", "`DIR` that will be the working directory of gramine-sgx")
	cmd.Flags().StringVarP(&c.keyFile, "wrap-key", "w", "", "`KEY` that the enclave will get: a file, - or a reference (see pf)")
	cmd.Flags().StringVar(&c.certificate, "server-certificate", "", "`FILE` with the key server's certificate, in PEM")
	cmd.Flags().StringVar(&c.sigstruct, "sigstruct", "", "the enclave's .sig `FILE`")
	cmd.Flags().StringVar(&c.at, "at", "", "check certificates for this `TIME` (RFC 3339), default now")
	u.jsonFlag(cmd)
	return cmd
}

func (c *manifestCheck) run(ctx context.Context, u *ui, name string) error {
	opts, err := c.options(ctx, u)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	findings := manifest.Check(m, opts)
	shown := manifestShown{Manifest: name, OK: true, Findings: findings}
	code, failed := exitOK, 0
	for _, f := range findings {
		if f.Status != manifest.Failed {
			continue
		}
		failed++
		shown.OK = false
		// A file that is not genuine is graver than one that is refused.
		if found := protectedFileCode(f.Err); found == exitNotGenuine || code == exitOK {
			code = cmp.Or(found, exitRefused)
		}
	}
	if err := u.report(shown, shown.text); err != nil {
		return err
	}
	if failed > 0 {
		return withCode(code, fmt.Errorf("%s: %d of %d checks failed", name, failed, len(findings)))
	}
	return nil
}

func (c *manifestCheck) options(ctx context.Context, u *ui) (manifest.Options, error) {
	opts := manifest.Options{At: time.Now()}
	if c.at != "" {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			return opts, usagef("--at %q is no time such as 2026-01-31T12:00:00Z", c.at)
		}
		opts.At = at
	}
	if c.artifacts != "" {
		info, err := os.Stat(c.artifacts)
		if err != nil {
			return opts, err
		}
		if !info.IsDir() {
			return opts, usagef("--artifacts %s is no folder", c.artifacts)
		}
		opts.Artifacts = os.DirFS(c.artifacts)
	}
	if c.keyFile != "" {
		key, err := u.openKey(ctx, c.keyFile)
		if err != nil {
			return opts, err
		}
		opts.Key = &key
	}
	if c.certificate != "" {
		text, err := os.ReadFile(c.certificate)
		if err != nil {
			return opts, err
		}
		if opts.ServerCertificate, err = tlsmaterials.ParseCertificates(text); err != nil {
			return opts, fmt.Errorf("%s: %w", c.certificate, err)
		}
	}
	if c.sigstruct != "" {
		s, err := readSigstruct(c.sigstruct)
		if err != nil {
			return opts, err
		}
		if err := s.Verify(); err != nil {
			return opts, fmt.Errorf("%s: %w", c.sigstruct, err)
		}
		opts.Sigstruct = s
	}
	return opts, nil
}

// manifestShown is what was found.
type manifestShown struct {
	Manifest string             `json:"manifest"`
	OK       bool               `json:"ok"`
	Findings []manifest.Finding `json:"findings"`
}

func (s manifestShown) text(w io.Writer) error {
	check := ""
	for _, f := range s.Findings {
		if f.Check != check {
			check = f.Check
			if _, err := fmt.Fprintf(w, "%s\n", check); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Status, f.Subject, f.Found); err != nil {
			return err
		}
		if f.Fix != "" && f.Status != manifest.OK {
			if _, err := fmt.Fprintf(w, "\t\tfix: %s\n", f.Fix); err != nil {
				return err
			}
		}
	}
	return nil
}
