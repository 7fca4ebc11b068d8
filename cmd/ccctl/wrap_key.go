package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/keyref"
)

func newWrapKeyCommand(u *ui) *cobra.Command {
	return group("wrap-key", "Wrap keys", newWrapKeyFingerprintCommand(u), newWrapKeySealCommand(u))
}

func newWrapKeyFingerprintCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fingerprint KEYFILE",
		Short: "Tell which wrap key a file holds without telling the key",
		Long: `fingerprint prints 16 hex digits that identify the wrap key in KEYFILE ("-" for
standard input, or a reference as "ccctl pf --help" has them). They may be shown: a key of 128 random bits cannot be guessed
from them. It is the key_id that cc_encrypted_file reports and the fingerprint
of cc_wrap_key.`,
		Example: `  ccctl wrap-key fingerprint wrap.key
  ccctl wrap-key fingerprint env:WRAP_KEY`,
		Args: args("KEYFILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" || isKeyItself(args[0]) || !keyref.IsFile(args[0]) {
				key, err := u.openKey(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return u.reportWrapKey(args[0], key.Fingerprint())
			}
			info, err := deploy.InspectWrapKey(args[0])
			if err != nil {
				return err
			}
			if info.Exposed() {
				u.warn("%s: its mode is %04o, so that others than its owner may read or replace it", args[0], info.Mode.Perm())
			}
			return u.reportWrapKey(args[0], info.Fingerprint)
		},
	}
	u.jsonFlag(cmd)
	return cmd
}

// reportWrapKey prints which key a file holds.
func (u *ui) reportWrapKey(file, fingerprint string) error {
	report := struct {
		File    string `json:"file"`
		WrapKey string `json:"wrap_key"`
	}{file, fingerprint}
	return u.report(report, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, fingerprint)
		return err
	})
}
