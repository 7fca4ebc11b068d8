package release

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/version"
)

// built is a program as a release has it, without its bytes.
func built(change func(*debug.BuildInfo)) *Program {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8", Path: module + "/cmd/ccctl", Main: debug.Module{Path: module, Version: "v1.2.0"},
		Deps: []*debug.Module{
			{Path: "golang.org/x/term", Version: "v0.47.0", Sum: "h1:term="},
			{Path: "github.com/BurntSushi/toml", Version: "v1.6.0+incompatible", Sum: "h1:toml="},
			{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v2.0.0", Sum: "h1:new="}},
			{Path: "example.com/a_b", Version: "v1.0.0", Sum: "h1:ab="},
			{Path: "example.com/a-b", Version: "v1.0.0", Sum: "h1:ab2="},
		},
		Settings: []debug.BuildSetting{
			{Key: "GOOS", Value: "linux"},
			{Key: "GOARCH", Value: "amd64"},
			{Key: "vcs.revision", Value: "abc"},
			{Key: "vcs.time", Value: "2026-11-23T21:00:00+01:00"},
		},
	}
	if change != nil {
		change(info)
	}
	return &Program{Name: "ccctl", SHA256: [32]byte{1, 2}, Build: info, Version: version.From(info)}
}

func TestSBOM(t *testing.T) {
	text, err := built(nil).SBOM()
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Version != "SPDX-2.3" || d.License != "CC0-1.0" || d.Creation.Created != "2026-11-23T20:00:00Z" || !strings.HasSuffix(d.Namespace, "/sbom/ccctl-0102"+strings.Repeat("0", 60)) {
		t.Errorf("%+v", d)
	}
	var parts []string
	ids := map[string]bool{}
	for _, p := range d.Packages {
		parts = append(parts, p.Name+" "+p.Version+" "+p.References[0].Locator)
		if ids[p.ID] || !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.ID) {
			t.Errorf("identifier %s", p.ID)
		}
		ids[p.ID] = true
	}
	want := []string{
		module + " v1.2.0 pkg:golang/" + module + "@v1.2.0",
		"stdlib 1.26.8 pkg:golang/stdlib@1.26.8",
		"example.com/a-b v1.0.0 pkg:golang/example.com/a-b@v1.0.0",
		"example.com/a_b v1.0.0 pkg:golang/example.com/a_b@v1.0.0",
		"example.com/new v2.0.0 pkg:golang/example.com/new@v2.0.0",
		"github.com/BurntSushi/toml v1.6.0+incompatible pkg:golang/github.com/burntsushi/toml@v1.6.0%2Bincompatible",
		"golang.org/x/term v0.47.0 pkg:golang/golang.org/x/term@v0.47.0",
	}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(d.Relationships); n != len(d.Packages) || d.Relationships[0].Type != "DESCRIBES" || d.Relationships[1].Type != "DEPENDS_ON" {
		t.Errorf("%d relationships: %v", n, d.Relationships)
	}
	for _, r := range d.Relationships {
		if !ids[r.To] || !ids[r.From] && r.From != d.ID {
			t.Errorf("%v: no such package", r)
		}
	}
	if main := d.Packages[0]; main.Checksums[0].Value != "0102"+strings.Repeat("0", 60) || main.Declared != "MPL-2.0" || main.SourceInfo != "commit abc, built by go1.26.8 for linux/amd64" {
		t.Errorf("%+v", main)
	}
	again, err := built(nil).SBOM()
	if err != nil || string(again) != string(text) {
		t.Errorf("two documents of a program differ (%v)", err)
	}
}

func TestSBOMRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(*debug.BuildInfo)
	}{
		{"no commit", "does not record the commit", func(i *debug.BuildInfo) { i.Settings = nil }},
		{"no module", "does not record its module", func(i *debug.BuildInfo) { i.Main = debug.Module{} }},
		{"a dependency from a folder", "example.com/x v0.0.0 has no checksum", func(i *debug.BuildInfo) {
			i.Deps = []*debug.Module{{Path: "example.com/x", Version: "v0.0.0"}}
		}},
	} {
		if _, err := built(tt.change).SBOM(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestReadProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadProgram(self)
	if err != nil || p.Build.Main.Path != module || p.SHA256 == [32]byte{} {
		t.Errorf("%+v, %v", p, err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadProgram(text); err == nil || !strings.Contains(err.Error(), "it is no program that Go has built") {
		t.Error(err)
	}
	if _, err := ReadProgram(text + ".none"); err == nil {
		t.Error("a file that is not there has been read")
	}
}
