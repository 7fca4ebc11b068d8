package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const testVersion = "1.2.0"

var testPlatform = []string{"linux_amd64"}

// programs are a provider and a command that do nothing, built of a tagged commit.
var programs = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "cc-release-test-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	run := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off",
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
		}
		return nil
	}
	write := func(name, text string) error {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
	}
	const source = "package main\n\nfunc main() {}\n"
	var all error
	step := func(err error) {
		if all == nil {
			all = err
		}
	}
	step(write("go.mod", "module "+module+"\n\ngo 1.26.0\n"))
	step(write("main.go", source))
	step(write("cmd/ccctl/main.go", source))
	step(write(".gitignore", "/out/\n"))
	step(run("git", "init", "-q"))
	step(run("git", "add", "."))
	step(run("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "x"))
	step(run("git", "tag", "v"+testVersion))
	build := func(out, main string, flags ...string) {
		step(run("go", append(append([]string{"build", "-ldflags=-s -w", "-buildvcs=true", "-o", filepath.Join("out", out)}, flags...), main)...))
	}
	build("provider", ".", "-trimpath")
	build("ccctl", "./cmd/ccctl", "-trimpath")
	build("untrimmed", "./cmd/ccctl")
	step(write("main.go", source+"\n// Changed.\n"))
	build("changed", "./cmd/ccctl", "-trimpath")
	step(run("git", "checkout", "-q", "main.go"))
	step(run("git", "tag", "-d", "v"+testVersion))
	build("untagged", "./cmd/ccctl", "-trimpath")
	if all != nil {
		return nil, all
	}
	found := map[string][]byte{}
	for _, name := range []string{"provider", "ccctl", "untrimmed", "changed", "untagged"} {
		if found[name], err = os.ReadFile(filepath.Join(dir, "out", name)); err != nil {
			return nil, err
		}
	}
	return found, nil
})

// parts are what a release is made of in a test.
type parts struct {
	provider, command map[string]member
	bills             map[string][]byte
	image, manifest   []byte
	owner             string
}

func goodParts(t *testing.T) *parts {
	t.Helper()
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) member { return member{[]byte(s), 0o644} }
	p := &parts{
		provider: map[string]member{provider + "_v" + testVersion: {built["provider"], 0o755}, "LICENSE": text("MPL")},
		command: map[string]member{
			"ccctl": {built["ccctl"], 0o755}, "LICENSE": text("MPL"), "README.md": text("r"), "CHANGELOG.md": text("c"),
			"completions/ccctl.bash": text("b"), "completions/_ccctl": text("z"), "completions/ccctl.fish": text("f"), "completions/ccctl.ps1": text("p"),
			"man/man1/ccctl.1": text("m"), "man/man1/ccctl-pf-encrypt.1": text("e"), "man/man1/ccctl-pf.1": text("p"),
		},
		bills: map[string][]byte{}, manifest: []byte(`{"version": 1, "metadata": {"protocol_versions": ["6.0"]}}`), owner: "root",
	}
	if p.image, err = ImageOf(built["ccctl"]); err != nil {
		t.Fatal(err)
	}
	for name, binary := range map[string]string{provider: provider + "_v" + testVersion, command: "ccctl"} {
		key := map[string]string{provider: "provider", command: "ccctl"}[name]
		read, err := readProgram(binary, bytes.NewReader(built[key]))
		if err != nil {
			t.Fatal(err)
		}
		if p.bills[name], err = read.SBOM(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// write writes a release and its checksums, and returns the folder.
func (p *parts) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var sums strings.Builder
	for name, data := range map[string][]byte{
		archiveFile(provider, testVersion, testPlatform[0]): zipped(t, p.provider),
		archiveFile(command, testVersion, testPlatform[0]):  tarred(t, p.command, p.owner),
		sbomFile(provider, testVersion, testPlatform[0]):    p.bills[provider],
		sbomFile(command, testVersion, testPlatform[0]):     p.bills[command],
		ImageFile(testVersion):                              p.image,
		ManifestFile(testVersion):                           p.manifest,
	} {
		writeFile(t, dir, name, data)
		fmt.Fprintf(&sums, "%s  %s\n", sumOf(data), name)
	}
	writeFile(t, dir, SumsFile(testVersion), []byte(sums.String()))
	return dir
}

func writeFile(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func zipped(t *testing.T, members map[string]member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, m := range members {
		h := &zip.FileHeader{Name: name, Method: zip.Store}
		h.SetMode(m.mode)
		out, err := w.CreateHeader(h)
		if err == nil {
			_, err = out.Write(m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarred(t *testing.T, members map[string]member, owner string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, m := range members {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: int64(m.mode), Size: int64(len(m.data)), Uname: owner, Gname: owner})
		if err == nil {
			_, err = w.Write(m.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCheck(t *testing.T) {
	if err := check(goodParts(t).write(t), testVersion, testPlatform); err != nil {
		t.Fatal(err)
	}
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	swap := func(program string) func(*parts) {
		return func(p *parts) { p.command["ccctl"] = member{built[program], 0o755} }
	}
	for _, tt := range []struct {
		name   string
		change func(*parts)
		want   string
	}{
		{"no program", func(p *parts) { delete(p.command, "ccctl") }, "it holds no ccctl"},
		{"the provider under another name", func(p *parts) {
			p.provider["terraform-provider-cc"] = p.provider[provider+"_v"+testVersion]
			delete(p.provider, provider+"_v"+testVersion)
		}, "it holds no terraform-provider-cc_v1.2.0"},
		{"not to be executed", func(p *parts) { p.command["ccctl"] = member{built["ccctl"], 0o644} }, "ccctl cannot be executed: mode 0644"},
		{"no licence", func(p *parts) { delete(p.provider, "LICENSE") }, "it holds no LICENSE"},
		{"no manual page", func(p *parts) { delete(p.command, "man/man1/ccctl.1") }, "it holds no man/man1/ccctl.1"},
		{"an empty completion", func(p *parts) { p.command["completions/_ccctl"] = member{nil, 0o644} }, "it holds no completions/_ccctl"},
		{"a simulator", func(p *parts) { p.command["ccsim"] = member{[]byte("x"), 0o755} }, "ccsim does not belong into it"},
		{"a text as the program", func(p *parts) { p.command["ccctl"] = member{[]byte("#!/bin/sh"), 0o755} }, "it is no program that Go has built"},
		{"another program", swap("provider"), "program: found \"" + module + "\", want \"" + module + "/cmd/ccctl\""},
		{"changed files", swap("changed"), `version: found "v1.2.0+dirty", want "v1.2.0"`},
		{"another commit than the tag's", swap("untagged"), `version: found "v0.0.0-`},
		{"paths of a machine", swap("untrimmed"), `-trimpath: found "", want "true"`},
		{"somebody's files", func(p *parts) { p.owner = "somebody" }, "belongs to 0 (somebody)"},
		{"a bill of another program", func(p *parts) { p.bills[command] = p.bills[provider] }, "it is not what the program says it is made of"},
		{"an image of another program", func(p *parts) { p.image = append(bytes.Clone(p.image), 0) }, "it is not the image of the released ccctl"},
		{"another protocol", func(p *parts) { p.manifest = []byte(`{"version": 1, "metadata": {"protocol_versions": ["5.0"]}}`) }, "want version 1 and protocol 6.0"},
	} {
		p := goodParts(t)
		tt.change(p)
		if err := check(p.write(t), testVersion, testPlatform); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestCheckSums(t *testing.T) {
	sums := SumsFile(testVersion)
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir, list string)
		want   string
	}{
		{"a file that was changed", func(t *testing.T, dir, _ string) {
			t.Helper()
			writeFile(t, dir, ManifestFile(testVersion), []byte(`{"version":1,"metadata":{"protocol_versions":["6.0"]}}`))
		}, ManifestFile(testVersion) + " has another checksum"},
		{"a file that is missing", func(t *testing.T, dir, _ string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, ImageFile(testVersion))); err != nil {
				t.Fatal(err)
			}
		}, ImageFile(testVersion) + ": no such file"},
		{"one more", func(t *testing.T, dir, _ string) { t.Helper(); writeFile(t, dir, "ccsim", nil) }, "ccsim is no part of a release"},
		{"one more that is listed", func(t *testing.T, dir, list string) {
			t.Helper()
			writeFile(t, dir, sums, []byte(list+strings.Repeat("0", 64)+"  ccsim\n"))
		}, "ccsim is listed and no part of a release"},
		{"not listed", func(t *testing.T, dir, list string) {
			t.Helper()
			lines := slices.DeleteFunc(strings.SplitAfter(list, "\n"), func(l string) bool { return strings.Contains(l, "manifest") })
			writeFile(t, dir, sums, []byte(strings.Join(lines, "")))
		}, ManifestFile(testVersion) + " is not listed"},
		{"another form", func(t *testing.T, dir, list string) {
			t.Helper()
			writeFile(t, dir, sums, []byte(strings.ReplaceAll(list, "  ", " *")))
		}, "want a checksum, two blanks"},
		{"no checksums", func(t *testing.T, dir, _ string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, sums)); err != nil {
				t.Fatal(err)
			}
		}, "read checksums: "},
	} {
		dir := goodParts(t).write(t)
		list, err := os.ReadFile(filepath.Join(dir, sums))
		if err != nil {
			t.Fatal(err)
		}
		tt.change(t, dir, string(list))
		if err := check(dir, testVersion, testPlatform); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	// A signature is no surprise, and an empty folder is one.
	dir := goodParts(t).write(t)
	writeFile(t, dir, sums+".sig", nil)
	if err := check(dir, testVersion, testPlatform); err != nil {
		t.Error(err)
	}
	if err := Check(t.TempDir(), testVersion); err == nil || strings.Count(err.Error(), "\n") < len(Files(testVersion))-1 {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	two := zipped(t, map[string]member{"a": {[]byte("x"), 0o644}})
	for _, tt := range []struct {
		name, file string
		data       []byte
		want       string
	}{
		{"no zip", "x.zip", []byte("x"), "not a valid zip file"},
		{"no gzip", "x.tar.gz", two, "invalid header"},
		{"a path that leads away", "x.zip", zipped(t, map[string]member{"../a": {nil, 0o644}}), "no file with a plain name"},
		{"a link", "x.zip", zipped(t, map[string]member{"a": {nil, 0o777 | os.ModeSymlink}}), "no file with a plain name"},
	} {
		if _, err := unpack(tt.file, tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
