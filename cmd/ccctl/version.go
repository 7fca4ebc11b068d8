package main

import (
	"io"

	"github.com/spf13/cobra"

	buildversion "github.com/ccctl/terraform-provider-cc/internal/version"
)

// version is the version alone, for logs and the admin listener.
func version() string { return buildversion.Read().Version }

func newVersionCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell which build this is",
		Long: `version tells the release, the commit it was built from, the toolchain and the
platform, as the toolchain recorded them: "go version -m" says the same of the
file. "--version" prints the release alone.`,
		Example: `  ccctl version
  ccctl version --json`,
		Args: args(),
		RunE: func(*cobra.Command, []string) error {
			info := buildversion.Read()
			return u.report(info, func(w io.Writer) error {
				rows := rowWriter{w: w}
				rows.add("version", "%s", info.Version)
				if info.Revision != "" {
					rows.add("commit", "%s", info.Revision)
					rows.add("committed", "%s", info.Time)
				}
				if info.Modified {
					rows.add("modified", "yes: files differed from the commit")
				}
				rows.add("go", "%s", info.Go)
				rows.add("platform", "%s", info.Platform)
				return rows.err
			})
		},
	}
	u.jsonFlag(cmd)
	return cmd
}
