package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// pfRewrap holds the flags of pf rewrap.
type pfRewrap struct {
	oldKey, newKey string
	deep           bool
	jobs           int
}

func newPFRewrapCommand(u *ui) *cobra.Command {
	var f pfRewrap
	cmd := &cobra.Command{
		Use:   "rewrap -w OLDKEY --new-wrap-key NEWKEY FILE...",
		Short: "Change the wrap key of protected files in place",
		Long: `rewrap encrypts the metadata of each FILE under a new wrap key. The data is not
touched, so it takes the same moment for a file of any size, and a crash leaves
the old key or the new one: run it again to finish.

It does not take anything back. The keys of the data nodes stay the same, and
the old metadata tells them to whoever has the old wrap key. Somebody who kept a
copy of the old file and the old key goes on reading it; and somebody who kept
the old metadata and the old key can also read the file as it is now. If the old
key may be in the wrong hands, use --deep, which gives every node a new key, and
destroy the copies: nothing makes those unreadable.`,
		Example: `  ccctl pf gen-key -w next.key
  ccctl pf rewrap -w wrap.key --new-wrap-key next.key models/resnet50/1/saved_model.pb ssl.cfg`,
		Args: args("FILE..."),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), u, args) },
	}
	keyFlag(cmd, &f.oldKey, `file with the wrap key that the files have, "-" for standard input`)
	cmd.Flags().StringVar(&f.newKey, "new-wrap-key", "", `file with the wrap key that they are to have, "-" for standard input`)
	cmd.Flags().BoolVar(&f.deep, "deep", false, "encrypt the data again too, under fresh keys")
	jobsFlag(cmd, &f.jobs)
	require(cmd, "new-wrap-key")
	u.jsonFlag(cmd)
	return cmd
}

func (f *pfRewrap) run(ctx context.Context, u *ui, names []string) error {
	if f.oldKey == "-" && f.newKey == "-" {
		return usagef("-w and --new-wrap-key cannot both be standard input")
	}
	if f.jobs < 0 {
		return usagef("--jobs %d is negative", f.jobs)
	}
	oldKey, err := u.openKey(ctx, f.oldKey)
	if err != nil {
		return err
	}
	newKey, err := u.openKey(ctx, f.newKey)
	if err != nil {
		return err
	}
	if oldKey == newKey {
		return usagef("the new wrap key is the old one (%s)", oldKey.Fingerprint())
	}
	files := make([]pfFile, len(names))
	for i, name := range names {
		files[i] = pfFile{in: name}
	}
	text := func(w io.Writer, r pfResult) {
		_, _ = fmt.Fprintf(w, "%s\twrap key %s\t%s\n", r.File, r.WrapKey, r.Note)
	}
	return u.eachFile(ctx, files, text, func(file pfFile) (pfResult, error) {
		bar := u.bulk("rewrapping", file.in)
		defer bar.finish()
		done, err := deploy.RewrapFile(ctx, deploy.RewrapSpec{
			Path: file.in, OldKey: oldKey, NewKey: newKey, Deep: f.deep, Jobs: f.jobs, Progress: bar.add,
		})
		if err != nil {
			return pfResult{}, err
		}
		res := pfResult{WrapKey: newKey.Fingerprint(), Note: "metadata re-encrypted"}
		switch {
		case done.Already:
			res.Note = "had the new wrap key already"
		case f.deep:
			res.Note = "metadata and data re-encrypted"
		}
		if done.Recovered {
			res.Note += " (an interrupted rewrap was undone first)"
		}
		return res, nil
	})
}
