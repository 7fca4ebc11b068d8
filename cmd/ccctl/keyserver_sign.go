package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/configsign"
)

// configKeys is the flag that demands a signature of a configuration. It takes keys and no files: whoever can write the
// configuration could write those too.
type configKeys []string

func (k *configKeys) flag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar((*[]string)(k), "verify-key", nil,
		"demand that FILE.sig is a signature of the configuration by this `KEY`, as 'ccctl keyserver gen-key' printed it (repeatable: by one of them)")
}

func (k configKeys) verifier() (*configsign.Verifier, error) {
	if len(k) == 0 {
		return nil, nil //nolint:nilnil // No signature is demanded.
	}
	v, err := configsign.NewVerifier(k...)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	return v, nil
}

func newKeyserverGenKeyCommand(u *ui) *cobra.Command {
	return newNoteKeyCommand(u, configsign.GenerateKey, "Make the key that signs configurations",
		`gen-key writes a signing key for 'ccctl keyserver sign-config' to FILE and prints
the key that 'ccctl keyserver serve --verify-key' takes. Keep the signing key away
from the server: whoever has it decides who is given which wrap key.`,
		"  ccctl keyserver gen-key --name ops.example.com -o signing.key", "who signs, such as ops.example.com")
}

func newKeyserverSignCommand(u *ui) *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "sign-config --key KEYFILE FILE",
		Short: "Sign a configuration for servers that demand it",
		Long: `sign-config checks what the configuration FILE says and writes a signature to
FILE.sig. The files that it names need not be here, and are not signed.

Copy FILE.sig to the server before or after FILE: a server that runs keeps what it
has until both fit.

Exit codes: 2 the configuration is no good, 3 the key is no signing key.`,
		Example: `  ccctl keyserver gen-key --name ops.example.com -o signing.key
  ccctl keyserver sign-config --key signing.key server.yaml`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, a []string) error {
			if err := needFlag(cmd, "key"); err != nil {
				return err
			}
			key, err := os.ReadFile(keyFile)
			if err != nil {
				return fmt.Errorf("read signing key: %w", err)
			}
			signer, err := configsign.ParseSigner(string(key))
			clear(key)
			if err != nil {
				return withCode(exitFormat, fmt.Errorf("%w (%s)", err, keyFile))
			}
			// One reading for the check and the signature.
			cfg, raw, err := keyserver.ReadConfig(a[0])
			if err != nil {
				return keyserverError(err)
			}
			for _, w := range cfg.Warnings() {
				u.warn("%s", w)
			}
			signed, err := configsign.Sign(raw, signer, time.Now())
			if err != nil {
				return err
			}
			out := a[0] + configsign.Extension
			if err := atomicfile.WriteFile(out, signed, 0o644); err != nil {
				return err
			}
			return u.report(map[string]string{"file": out, "sha256": cfg.Digest(), "signer": signer.Name()}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: signed by %s\nsha256 %s\n", out, signer.Name(), cfg.Digest())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "`KEYFILE` that 'ccctl keyserver gen-key' wrote")
	u.jsonFlag(cmd)
	return cmd
}

// keyserverError gives a bad configuration the exit code of wrong usage, for it is the operator's to mend, and one without
// the signature that was demanded the code of what is not genuine.
func keyserverError(err error) error {
	var problems *keyserver.ConfigError
	switch {
	case errors.Is(err, configsign.ErrNotSigned):
		return withCode(exitNotGenuine, err)
	case errors.As(err, &problems) && problems.IsUnreachable():
		return withHint(withCode(exitUnreachable, err), "the configuration is good; start again when the services that keep the keys answer")
	case errors.As(err, &problems):
		return withCode(exitUsage, err)
	default:
		return err
	}
}
