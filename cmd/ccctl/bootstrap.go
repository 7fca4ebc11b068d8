package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

func newBootstrapCommand(u *ui) *cobra.Command {
	return group("bootstrap", "Preparation of a client machine", newBootstrapPrintCommand(u))
}

func newBootstrapPrintCommand(u *ui) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "print [--user USER]",
		Short: "Print the script that prepares a client machine",
		Long: `print writes the script that cc_client_instance runs through Cloud Assistant:
wget, git, python3-pip and Docker-CE on Alibaba Cloud Linux 3, and never
podman-docker. It is fit for cloud-init's user data and may run again at any
time. It tells its steps in /var/lib/cc-bootstrap/status and logs to
/var/log/cc-bootstrap.log.`,
		Example: `  ccctl bootstrap print --user ecs-user`,
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			if user != "" {
				if err := deploy.ValidLogin(user); err != nil {
					return usagef("--user: %w", err)
				}
			}
			script, err := deploy.BootstrapScript(user)
			if err != nil {
				return fmt.Errorf("print bootstrap script: %w", err)
			}
			if _, err := fmt.Fprint(u.out, script); err != nil {
				return fmt.Errorf("print bootstrap script: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "user to put into the group docker, which makes it as powerful as root")
	return cmd
}
