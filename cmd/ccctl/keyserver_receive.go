package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

func newKeyserverReceiveCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "receive DIR",
		Short: "Hand files over to a server that waits for them",
		Long: `receive reads a tar archive of regular files from standard input and makes the
directory DIR of them, complete or not at all. A server that was started with
--await-files DIR goes on then. DIR should be on a file system in memory: the
secrets of that server are then on no disk, and in no argument or environment
variable either. Nothing is replaced: DIR must not be there.`,
		Example: "  tar c server.pem server-key.pem wrap-key | ccctl keyserver receive /run/cc-key-server/files",
		Args:    args("DIR"),
		RunE: func(_ *cobra.Command, a []string) error {
			return deploy.ReceiveFiles(u.in, a[0])
		},
	}
}

// awaitFiles waits for the files of --await-files, if it was given. It returns
// false if the server was told to end before they came.
func awaitFiles(ctx context.Context, log *slog.Logger, dir string) bool {
	if dir == "" {
		return true
	}
	log.Info("waiting for files", "directory", dir)
	return deploy.AwaitFiles(ctx, dir) == nil
}
