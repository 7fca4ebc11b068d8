package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/raconfig"
)

func newKeyserverImportCommand(u *ui) *cobra.Command {
	var secret string
	cmd := &cobra.Command{
		Use:   "import-ra-config FILE",
		Short: "Turn the tutorial's ra_config.json into rules",
		Long: `import-ra-config prints the rules of a key server's configuration that say what an
ra_config.json of the CCZoo tutorial says, and warns of each thing that was
unsafe or that the old server did not do as written. Read the warnings.`,
		Example: `  ccctl keyserver import-ra-config ra_config.json --secret resnet50`,
		Args:    args("FILE"),
		RunE: func(_ *cobra.Command, a []string) error {
			f, err := os.Open(a[0])
			if err != nil {
				return fmt.Errorf("read ra_config.json: %w", err)
			}
			defer func() { _ = f.Close() }()
			raw, err := io.ReadAll(io.LimitReader(f, 4<<20))
			if err != nil {
				return fmt.Errorf("read ra_config.json: %w", err)
			}
			result, err := raconfig.Import(raw, secret)
			if err != nil {
				return withCode(exitFormat, err)
			}
			text, err := result.YAML()
			if err != nil {
				return err
			}
			for _, w := range result.Warnings {
				u.warn("%s", w)
			}
			return u.report(map[string]any{"yaml": string(text), "rules": len(result.Rules), "warnings": result.Warnings}, func(w io.Writer) error {
				_, err := w.Write(text)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&secret, "secret", "model", "`NAME` of the secret that the rules release")
	u.jsonFlag(cmd)
	return cmd
}
