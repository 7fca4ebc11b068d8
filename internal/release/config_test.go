package release

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// configuration has the keys of .goreleaser.yaml that are used, under the names that GoReleaser 2 has for them (its
// pkg/config): a key with a slip in it is none of them. `goreleaser check` says more and takes minutes to build.
type configuration struct {
	Version int    `yaml:"version"`
	Project string `yaml:"project_name"`
	Before  struct {
		Hooks []string `yaml:"hooks"`
	} `yaml:"before"`
	Builds    []build   `yaml:"builds"`
	Archives  []archive `yaml:"archives"`
	SBOMs     []bill    `yaml:"sboms"`
	Checksums struct {
		Algorithm string      `yaml:"algorithm"`
		Name      string      `yaml:"name_template"`
		Extra     []extraFile `yaml:"extra_files"`
	} `yaml:"checksum"`
	Signs []struct {
		Artifacts string   `yaml:"artifacts"`
		Args      []string `yaml:"args"`
	} `yaml:"signs"`
	Metadata struct {
		Time string `yaml:"mod_timestamp"`
	} `yaml:"metadata"`
	Snapshot struct {
		Version string `yaml:"version_template"`
	} `yaml:"snapshot"`
	Changelog struct {
		Disable bool `yaml:"disable"`
	} `yaml:"changelog"`
	Release struct {
		GitHub struct {
			Owner string `yaml:"owner"`
			Name  string `yaml:"name"`
		} `yaml:"github"`
		Draft bool        `yaml:"draft"`
		Extra []extraFile `yaml:"extra_files"`
	} `yaml:"release"`
}

type build struct {
	ID      string   `yaml:"id"`
	Main    string   `yaml:"main"`
	Binary  string   `yaml:"binary"`
	Env     []string `yaml:"env"`
	Flags   []string `yaml:"flags"`
	LDFlags []string `yaml:"ldflags"`
	Time    string   `yaml:"mod_timestamp"`
	Targets []string `yaml:"targets"`
	Hooks   struct {
		Post []string `yaml:"post"`
	} `yaml:"hooks"`
}

type fileInfo struct {
	Owner string `yaml:"owner"`
	Group string `yaml:"group"`
	Mode  string `yaml:"mode"`
	Time  string `yaml:"mtime"`
}

type archive struct {
	ID        string   `yaml:"id"`
	IDs       []string `yaml:"ids"`
	Formats   []string `yaml:"formats"`
	Overrides []struct {
		System  string   `yaml:"goos"`
		Formats []string `yaml:"formats"`
	} `yaml:"format_overrides"`
	Name  string   `yaml:"name_template"`
	Info  fileInfo `yaml:"builds_info"`
	Files []struct {
		Source      string   `yaml:"src"`
		Destination string   `yaml:"dst"`
		Strip       bool     `yaml:"strip_parent"`
		Info        fileInfo `yaml:"info"`
	} `yaml:"files"`
}

type bill struct {
	ID        string   `yaml:"id"`
	IDs       []string `yaml:"ids"`
	Artifacts string   `yaml:"artifacts"`
	Cmd       string   `yaml:"cmd"`
	Args      []string `yaml:"args"`
	Documents []string `yaml:"documents"`
}

type extraFile struct {
	Glob string `yaml:"glob"`
	Name string `yaml:"name_template"`
}

var repository = filepath.Join("..", "..")

func readConfiguration(t *testing.T) (c configuration) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(text, &c, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	return c
}

// expand writes a template for a version and a platform.
func expand(template, version, platform string) string {
	system, machine, _ := strings.Cut(platform, "_")
	return strings.NewReplacer("{{ .Version }}", version, "{{ .Os }}", system, "{{ .Arch }}", machine).Replace(template)
}

// TestConfiguration holds the configuration against what [Check] wants of a release.
func TestConfiguration(t *testing.T) {
	c := readConfiguration(t)
	if c.Version != 2 || c.Project != provider || !c.Changelog.Disable || !c.Release.Draft || c.Metadata.Time != "{{ .CommitTimestamp }}" {
		t.Errorf("%+v", c)
	}
	if got := c.Release.GitHub.Owner + "/" + c.Release.GitHub.Name; "github.com/"+got != module {
		t.Errorf("released at %s", got)
	}
	checkBuilds(t, c.Builds)
	var names []string
	for _, platform := range Platforms() {
		for _, a := range c.Archives {
			names = append(names, expand(a.Name, "1.2.0", platform)+extension(a, platform))
		}
		for _, s := range c.SBOMs {
			if s.Artifacts != "binary" || s.Cmd != "../bin/release/ccrelease" || !slices.Equal(s.Args, []string{"sbom", "$artifact", "$document"}) || !slices.Equal(s.IDs, []string{s.ID}) || len(s.Documents) != 1 {
				t.Errorf("bill of materials %+v", s)
			}
			names = append(names, expand(s.Documents[0], "1.2.0", platform))
		}
	}
	for _, e := range c.Checksums.Extra {
		name := e.Name
		if name == "" {
			name = filepath.Base(e.Glob)
		}
		names = append(names, expand(name, "1.2.0", ""))
	}
	slices.Sort(names)
	if diff := cmp.Diff(Files("1.2.0"), names); diff != "" {
		t.Errorf("files of a release (-want +got):\n%s", diff)
	}
	if got := expand(c.Checksums.Name, "1.2.0", ""); got != SumsFile("1.2.0") || c.Checksums.Algorithm != "sha256" {
		t.Errorf("%s with %s", got, c.Checksums.Algorithm)
	}
	if diff := cmp.Diff(c.Checksums.Extra, c.Release.Extra); diff != "" {
		t.Errorf("what is uploaded is not what has a checksum:\n%s", diff)
	}
	if len(c.Signs) != 1 || c.Signs[0].Artifacts != "checksum" || !slices.Contains(c.Signs[0].Args, "{{ .Env.GPG_FINGERPRINT }}") {
		t.Errorf("signature: %+v", c.Signs)
	}
	for _, a := range c.Archives {
		infos := []fileInfo{a.Info}
		for _, f := range a.Files {
			infos = append(infos, f.Info)
		}
		for i, info := range infos {
			mode := "0644"
			if i == 0 {
				mode = "0755"
			}
			if want := (fileInfo{"root", "root", mode, "{{ .CommitDate }}"}); info != want {
				t.Errorf("archive %s: %+v, want %+v", a.ID, info, want)
			}
		}
	}
}

func checkBuilds(t *testing.T, builds []build) {
	t.Helper()
	mains := map[string]string{}
	for _, b := range builds {
		mains[b.ID] = b.Main
		targets := slices.Sorted(slices.Values(b.Targets))
		if !slices.Equal(targets, Platforms()) || !slices.Equal(b.Env, []string{"CGO_ENABLED=0"}) || !slices.Equal(b.Flags, []string{"-trimpath", "-buildvcs=true"}) ||
			!slices.Equal(b.LDFlags, []string{"-s -w"}) || b.Time != "{{ .CommitTimestamp }}" {
			t.Errorf("build %+v", b)
		}
	}
	if diff := cmp.Diff(map[string]string{"provider": ".", "ccctl": "./cmd/ccctl"}, mains); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
	if builds[0].Binary != "terraform-provider-cc_v{{ .Version }}" || builds[1].Binary != "ccctl" {
		t.Errorf("binaries %s and %s", builds[0].Binary, builds[1].Binary)
	}
}

func extension(a archive, platform string) string {
	for _, o := range a.Overrides {
		if strings.HasPrefix(platform, o.System+"_") {
			return "." + o.Formats[0]
		}
	}
	return "." + a.Formats[0]
}

func TestCheckManifest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "terraform-registry-manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckManifest(text); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct{ text, want string }{
		{`{"version": 1, "metadata": {"protocol_versions": ["5.0"]}}`, `found version 1 and protocols ["5.0"], want version 1 and protocol 6.0`},
		{`{"version": 2, "metadata": {"protocol_versions": ["6.0"]}}`, "found version 2"},
		{`{"version": 1, "metadata": {"protocols": ["6.0"]}}`, `unknown field "protocols"`},
		{``, "EOF"},
	} {
		if err := CheckManifest([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}
