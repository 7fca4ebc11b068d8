package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/image"
)

const (
	module   = "github.com/ccctl/terraform-provider-cc"
	provider = "terraform-provider-cc"
	command  = "ccctl"

	// protocol is the version of Terraform's plugin protocol that the provider speaks.
	protocol = "6.0"
)

// Platforms lists what is released for, as "OS_ARCH".
func Platforms() []string {
	return []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64", "windows_amd64"}
}

// SumsFile is the name of the file with the checksums of a version.
func SumsFile(version string) string { return provider + "_" + version + "_SHA256SUMS" }

// ManifestFile is the name under which the Terraform Registry looks for the manifest of a version.
func ManifestFile(version string) string { return provider + "_" + version + "_manifest.json" }

// ImageFile is the name of the container image of a version.
func ImageFile(version string) string { return image.Repository + "_" + version + "_linux_amd64.tar" }

func archiveFile(name, version, platform string) string {
	extension := ".tar.gz"
	if name == provider || strings.HasPrefix(platform, "windows") {
		extension = ".zip" // the only one that the Registry takes
	}
	return name + "_" + version + "_" + platform + extension
}

func sbomFile(name, version, platform string) string {
	return name + "_" + version + "_" + platform + ".spdx.json"
}

// Files lists what a release of a version has, beside the checksums and their signature.
func Files(version string) []string { return files(version, Platforms()) }

func files(version string, platforms []string) []string {
	all := []string{ManifestFile(version), ImageFile(version)}
	for _, platform := range platforms {
		for _, name := range []string{provider, command} {
			all = append(all, archiveFile(name, version, platform), sbomFile(name, version, platform))
		}
	}
	slices.Sort(all)
	return all
}

// Check reports everything that is wrong with the release of a version, such as
// "1.2.0", whose files are in dir. A signature is not looked at.
func Check(dir, version string) error { return check(dir, version, Platforms()) }

func check(dir, version string, platforms []string) error {
	c := &checker{dir: dir, version: version, programs: map[string]*Program{}}
	c.sums(files(version, platforms))
	c.manifest()
	for _, platform := range platforms {
		for _, name := range []string{provider, command} {
			file := archiveFile(name, version, platform)
			if err := c.archive(name, platform, file); err != nil {
				c.add("%s: %w", file, err)
			}
		}
	}
	c.image()
	c.same()
	return errors.Join(c.problems...)
}

type checker struct {
	dir, version string
	programs     map[string]*Program // by archive
	linux        []byte              // ccctl of the image's platform
	problems     []error
}

func (c *checker) add(format string, a ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, a...))
}

func (c *checker) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(c.dir, name)) }

// sums checks that every file is listed with its checksum, and that there are
// no others.
func (c *checker) sums(wanted []string) {
	name := SumsFile(c.version)
	text, missing := c.read(name)
	if missing != nil {
		c.add("read checksums: %w", missing)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if _, twice := listed[file]; !ok || twice || len(sum) != 2*sha256.Size {
			c.add("%s: found line %q, want a checksum, two blanks and a name that was not there before", name, line)
			continue
		}
		listed[file] = sum
	}
	for _, file := range wanted {
		data, err := c.read(file)
		switch {
		case err != nil:
			c.add("%w", err)
		case missing != nil:
		case listed[file] == "":
			c.add("%s: %s is not listed", name, file)
		case sumOf(data) != listed[file]:
			c.add("%s: %s has another checksum", name, file)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(listed)) {
		if !slices.Contains(wanted, file) {
			c.add("%s: %s is listed and no part of a release", name, file)
		}
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.add("%w", err)
	}
	for _, e := range entries {
		if n := e.Name(); n != name && n != name+".sig" && !slices.Contains(wanted, n) {
			c.add("%s is no part of a release", n)
		}
	}
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (c *checker) manifest() {
	text, err := c.read(ManifestFile(c.version))
	if err != nil {
		return // it has been said
	}
	if err := CheckManifest(text); err != nil {
		c.add("%s: %w", ManifestFile(c.version), err)
	}
}

// CheckManifest tells whether the registry's manifest says what this provider is.
func CheckManifest(text []byte) error {
	var m struct {
		Version  int `json:"version"`
		Metadata struct {
			Protocols []string `json:"protocol_versions"`
		} `json:"metadata"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return err
	}
	if m.Version != 1 || !slices.Equal(m.Metadata.Protocols, []string{protocol}) {
		return fmt.Errorf("found version %d and protocols %q, want version 1 and protocol %s", m.Version, m.Metadata.Protocols, protocol)
	}
	return nil
}

// archive checks the archive of a program, and the bill of materials beside it.
func (c *checker) archive(name, platform, file string) error {
	data, err := c.read(file)
	if err != nil {
		return nil //nolint:nilerr // It has been said.
	}
	members, err := unpack(file, data)
	if err != nil {
		return err
	}
	binary := name
	if name == provider {
		binary += "_v" + c.version
	}
	if strings.HasPrefix(platform, "windows") {
		binary += ".exe"
	}
	program, ok := members[binary]
	switch {
	case !ok:
		return fmt.Errorf("it holds no %s", binary)
	case program.mode&0o111 == 0:
		return fmt.Errorf("%s cannot be executed: mode %#o", binary, program.mode)
	}
	if err := c.members(name, binary, members); err != nil {
		return err
	}
	p, err := readProgram(binary, bytes.NewReader(program.data))
	if err != nil {
		return err
	}
	c.programs[file] = p
	if name == command && platform == "linux_amd64" {
		c.linux = program.data
	}
	if err := c.program(name, platform, p); err != nil {
		return err
	}
	bill, err := c.read(sbomFile(name, c.version, platform))
	if err != nil {
		return nil //nolint:nilerr // It has been said.
	}
	if err := p.checkSBOM(bill); err != nil {
		return fmt.Errorf("%s: %w", sbomFile(name, c.version, platform), err)
	}
	return nil
}

// members checks what is in an archive beside the program: for the provider the
// licence, for the command also what a package of a distribution wants.
func (c *checker) members(name, binary string, members map[string]member) error {
	wanted := []string{binary, "LICENSE"}
	if name == command {
		wanted = append(wanted, "README.md", "CHANGELOG.md",
			"completions/ccctl.bash", "completions/_ccctl", "completions/ccctl.fish", "completions/ccctl.ps1", "man/man1/ccctl.1", "man/man1/ccctl-pf-encrypt.1")
	}
	for _, w := range wanted {
		if m, ok := members[w]; !ok || len(m.data) == 0 {
			return fmt.Errorf("it holds no %s", w)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(members)) {
		if name == command && path.Dir(m) == "man/man1" && strings.HasPrefix(path.Base(m), "ccctl-") && path.Ext(m) == ".1" {
			continue
		}
		if !slices.Contains(wanted, m) {
			return fmt.Errorf("%s does not belong into it", m)
		}
	}
	return nil
}

// program checks what a program says of how it was built.
func (c *checker) program(name, platform string, p *Program) error {
	main := module
	if name == command {
		main += "/cmd/" + command
	}
	settings := map[string]string{}
	for _, s := range p.Build.Settings {
		settings[s.Key] = s.Value
	}
	for _, s := range []struct{ what, got, want string }{
		{"program", p.Build.Path, main},
		{"module", p.Build.Main.Path, module},
		{"version", p.Version.Version, "v" + c.version},
		{"platform", strings.ReplaceAll(p.Version.Platform, "/", "_"), platform},
		{"files differed from the commit", settings["vcs.modified"], "false"},
		{"CGO_ENABLED", settings["CGO_ENABLED"], "0"},
		{"-trimpath", settings["-trimpath"], "true"},
	} {
		if s.got != s.want {
			return fmt.Errorf("%s: found %q, want %q", s.what, s.got, s.want)
		}
	}
	return nil
}

// image checks that the container image is that of the released program.
func (c *checker) image() {
	data, err := c.read(ImageFile(c.version))
	if err != nil || c.linux == nil {
		return // it has been said
	}
	want, err := ImageOf(c.linux)
	switch {
	case err != nil:
		c.add("%s: %w", ImageFile(c.version), err)
	case !bytes.Equal(want, data):
		c.add("%s: it is not the image of the released %s", ImageFile(c.version), command)
	}
}

// ImageOf makes the container image of a program, as `docker load` reads it.
func ImageOf(program []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "ccrelease-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, command)
	if err := os.WriteFile(file, program, 0o600); err != nil {
		return nil, err
	}
	i, err := image.Build(file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if _, err := i.WriteTo(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// same checks that all programs are of one commit and one toolchain.
func (c *checker) same() {
	var first *Program
	for _, file := range slices.Sorted(maps.Keys(c.programs)) {
		p := c.programs[file]
		if first == nil {
			first = p
		}
		if p.Version.Revision != first.Version.Revision || p.Version.Go != first.Version.Go {
			c.add("%s is of commit %s and %s, others of %s and %s", file, p.Version.Revision, p.Version.Go, first.Version.Revision, first.Version.Go)
		}
	}
}
