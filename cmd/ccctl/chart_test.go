package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/image"
)

// TestChartRunsThisProgram: what the Helm chart starts is a command of this program with flags that it has, as the user of the
// image, with the image's directories.
func TestChartRunsThisProgram(t *testing.T) {
	files, err := filepath.Glob("../../deploy/charttest/testdata/*.golden.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d renders of the chart, error %v", len(files), err)
	}
	arguments := regexp.MustCompile(`(?m)^ +args:\n((?: +- .*\n)+)`)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		found := arguments.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no arguments", file)
		}
		var args []string
		for line := range strings.Lines(found[1]) {
			args = append(args, strings.Trim(strings.TrimSpace(line), `-"' `))
			if strings.Contains(line, "- --") || strings.Contains(line, `- "--`) {
				args[len(args)-1] = "--" + args[len(args)-1]
			}
		}
		cmd, rest, err := newRootCommand(newUI(strings.NewReader(""), io.Discard, io.Discard)).Find(args)
		if err != nil || cmd.CommandPath() != "ccctl keyserver serve" {
			t.Fatalf("%s: %q is %v, %v", file, args, cmd, err)
		}
		if err := cmd.ParseFlags(rest); err != nil || len(cmd.Flags().Args()) > 0 {
			t.Errorf("%s: %q: %v", file, args, err)
		}
		var verify configKeys
		if verify, err = cmd.Flags().GetStringArray("verify-key"); err == nil {
			_, err = verify.verifier()
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, want := range []string{
			fmt.Sprintf("runAsUser: %d\n", image.UID), fmt.Sprintf("fsGroup: %d\n", image.UID), "--config=" + image.ConfigFile + "\n", "--state-file=" + image.StateFile + "\n",
			"mountPath: " + image.ConfigDir + ",", "mountPath: " + image.StateDir + " ", "mountPath: " + image.CacheDir + "/",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not hold %q", file, want)
			}
		}
	}
}
