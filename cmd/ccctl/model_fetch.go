package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

func newModelFetchCommand(u *ui) *cobra.Command {
	var spec deploy.FetchSpec
	cmd := &cobra.Command{
		Use:   "fetch URL --sha256 HEX [-o FILE]",
		Short: "Download a model whose digest is known, going on where an earlier try ended",
		Long: `fetch downloads URL (https or file) to FILE. The SHA-256 is required: it is checked
while the file arrives, and a file of another digest is never left under the
name FILE. What has arrived when the connection breaks or the command is
interrupted is kept beside FILE, and the next try goes on from there.

Redirects to plain http are refused. HTTPS_PROXY and NO_PROXY are honoured.`,
		Example: `  ccctl model fetch https://models.example.com/resnet50_fp32_pretrained_model.pb \
      --sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: args("URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.URL = args[0]
			if spec.Tries < 1 {
				return usagef("--tries %d: at least 1", spec.Tries)
			}
			spec.SHA256 = strings.ToLower(spec.SHA256)
			if spec.Destination == "" {
				if spec.Destination = fetchName(spec.URL); spec.Destination == "" {
					return usagef("the URL names no file: choose one with -o")
				}
			}
			spec.MaxSize = savedmodel.MaxSize
			return runFetch(cmd, u, spec)
		},
	}
	cmd.Flags().StringVarP(&spec.Destination, "output", "o", "", "file to write (default: the last part of the URL)")
	cmd.Flags().StringVar(&spec.SHA256, "sha256", "", "SHA-256 of the file, 64 hex digits")
	cmd.Flags().IntVar(&spec.Tries, "tries", 5, "how often to ask a server that sends nothing new")
	require(cmd, "sha256")
	u.jsonFlag(cmd)
	return cmd
}

// fetchName is the file name in a URL, or nothing.
func fetchName(url string) string {
	url, _, _ = strings.Cut(url, "?")
	url, _, _ = strings.Cut(url, "#")
	_, rest, ok := strings.Cut(url, "://")
	if !ok || strings.HasSuffix(rest, "/") || !strings.Contains(rest, "/") {
		return ""
	}
	name := path.Base(rest)
	if strings.ContainsAny(name, "%\\") || strings.HasPrefix(name, ".") {
		return ""
	}
	return name
}

func runFetch(cmd *cobra.Command, u *ui, spec deploy.FetchSpec) error {
	var bar *progress
	var shown int64
	spec.Progress = func(done, total int64) {
		if bar == nil || done < shown {
			bar, shown = u.progress("fetching "+spec.Destination, total), 0
		}
		bar.add(done - shown)
		shown = done
	}
	got, err := deploy.Fetch(cmd.Context(), spec)
	if bar != nil {
		bar.finish()
	}
	if errors.Is(err, deploy.ErrSourceDigest) {
		return withHint(err, "the server has another file than the one you want: do not use it, and ask whoever gave you the digest")
	}
	if err != nil {
		return err
	}
	switch {
	case got.Present:
		u.note("%s is there already", got.File)
	case got.Resumed > 0:
		u.note("went on after %d bytes of an earlier try", got.Resumed)
	}
	return u.report(got, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\t%d bytes\tsha256 %s\n", got.File, got.Size, got.SHA256)
		return err
	})
}
