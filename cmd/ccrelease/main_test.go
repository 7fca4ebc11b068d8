package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, errUsage.Error()},
		{[]string{"sbom", self}, errUsage.Error()},
		{[]string{"publish", "a", "b"}, errUsage.Error()},
		{[]string{"sbom", self, filepath.Join(dir, "x")}, "the program does not record the commit it was built from"}, // a test does not
		{[]string{"sbom", filepath.Join(dir, "none"), filepath.Join(dir, "x")}, "read program: "},
		{[]string{"image", "linux_amd64_v1", filepath.Join(dir, "none"), filepath.Join(dir, "x")}, "read program: "},
		{[]string{"check", dir, "1.2.0"}, "check release:\nread checksums: "},
	} {
		var out strings.Builder
		if err := run(tt.args, &out); err == nil || !strings.HasPrefix(err.Error(), tt.want) && !strings.Contains(err.Error(), tt.want) || out.Len() > 0 {
			t.Errorf("%q: %v, %q", tt.args, err, &out)
		}
	}
	// The image is of one target.
	if err := run([]string{"image", "darwin_arm64_v8.0", filepath.Join(dir, "none"), filepath.Join(dir, "x")}, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}
