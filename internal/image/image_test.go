package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "cc-image-test-"); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	defer testhost.StopDocker()
	m.Run()
}

// ccctl is the program as it is released.
var ccctl = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "ccctl")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./cmd/ccctl")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func built(t *testing.T) *Image {
	t.Helper()
	path, err := ccctl()
	if err != nil {
		t.Fatal(err)
	}
	i, err := Build(path)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestReproducible asserts what users rely on: the same digest twice, and a
// size that can be sent in seconds.
func TestReproducible(t *testing.T) {
	one, two := built(t), built(t)
	if one.ID() != two.ID() || digest(t, one) != digest(t, two) || one.Reference() != two.Reference() {
		t.Errorf("%s %s, then %s %s", one.ID(), digest(t, one), two.ID(), digest(t, two))
	}
	var a, b bytes.Buffer
	n, err := one.WriteTo(&a)
	if err != nil || n != int64(a.Len()) {
		t.Fatal(n, err)
	}
	if _, err := two.WriteTo(&b); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("the archives differ (%v)", err)
	}
	const limit = 30 << 20
	size, err := one.Size()
	if err != nil || size == 0 || size > limit || int64(a.Len()) > limit {
		t.Errorf("the image has %d bytes (%v), the archive %d; the limit is %d", size, err, a.Len(), limit)
	}
	t.Logf("image %s has %d bytes", one.Reference(), size)
	if !strings.HasPrefix(one.ID(), "sha256:") || one.Reference() != "cc-key-server:"+one.ID()[7:23] {
		t.Errorf("id %s, reference %s", one.ID(), one.Reference())
	}
}

func digest(t *testing.T, i *Image) string {
	t.Helper()
	d, err := i.Digest()
	if err != nil || !strings.HasPrefix(d, "sha256:") {
		t.Fatal(d, err)
	}
	return d
}

// TestArchive reads the archive as Docker does, without the library that wrote it.
func TestArchive(t *testing.T) {
	i := built(t)
	var b bytes.Buffer
	if _, err := i.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	files := untar(t, &b)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 {
		t.Fatalf("%s, %v", files["manifest.json"], err)
	}
	if len(manifest[0].RepoTags) != 1 || !strings.HasSuffix(manifest[0].RepoTags[0], i.Reference()) {
		t.Errorf("tags are %v", manifest[0].RepoTags)
	}
	var config struct {
		Architecture, OS, Created string
		Config                    struct {
			User       string
			Entrypoint []string
			Env        []string
		}
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "amd64" || config.OS != "linux" || config.Created != "1970-01-01T00:00:00Z" ||
		config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/ccctl" || config.Config.Env != nil {
		t.Errorf("configuration is %+v", config)
	}
	layer, err := gzip.NewReader(bytes.NewReader(files[manifest[0].Layers[0]]))
	if err != nil {
		t.Fatal(err)
	}
	inside := untar(t, layer)
	path, err := ccctl()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(inside) != 2 || !bytes.Equal(inside["ccctl"], program) {
		t.Errorf("%d entries in the layer", len(inside))
	}
	if bytes.Contains(b.Bytes(), []byte(scratch)) {
		t.Error("the archive names a folder of this machine")
	}
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = data
		if h.ModTime.Unix() != 0 && !h.ModTime.IsZero() {
			t.Errorf("%s has the time %v", h.Name, h.ModTime)
		}
	}
}

// dockerOf returns what runs a command of Docker.
func dockerOf(t *testing.T) func(stdin io.Reader, args ...string) string {
	host := testhost.DockerHost(t)
	return func(stdin io.Reader, args ...string) string {
		t.Helper()
		cmd := exec.Command("docker", append([]string{"-H", host}, args...)...)
		cmd.Stdin = stdin
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("docker %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
}

func archive(i *Image) io.Reader {
	r, w := io.Pipe()
	go func() { _, err := i.WriteTo(w); _ = w.CloseWithError(err) }()
	return r
}

// TestDockerKnowsTheID has Docker load and run the image.
func TestDockerKnowsTheID(t *testing.T) {
	docker := dockerOf(t)
	i := built(t)
	docker(archive(i), "load")
	if id := docker(nil, "image", "inspect", "--format", "{{.Id}}", i.Reference()); id != i.ID() && id != digest(t, i) {
		t.Errorf("Docker calls it %s, want %s or %s", id, i.ID(), digest(t, i))
	}
	if out := docker(nil, "run", "--rm", "--network", "none", i.Reference(), "--version"); !strings.HasPrefix(out, "ccctl ") {
		t.Errorf("it says %q", out)
	}
}

// verifier verifies the certificate in its standard input by the authorities
// that ccctl brings along, and then by none.
const verifier = `package main

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback"
)

func main() {
	data, _ := io.ReadAll(os.Stdin)
	block, _ := pem.Decode(data)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	o := x509.VerifyOptions{CurrentTime: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := certificate.Verify(o); err != nil {
		panic(err)
	}
	o.Roots = x509.NewCertPool()
	if _, err := certificate.Verify(o); err == nil {
		panic("verified by nobody")
	}
	println("verified")
}
`

// TestPublicChainInside verifies a public certificate inside of the image, with
// a program in the place of ccctl that brings the authorities along as it does.
func TestPublicChainInside(t *testing.T) {
	path, err := ccctl()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil || !slices.ContainsFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "golang.org/x/crypto/x509roots/fallback" }) {
		t.Errorf("ccctl does not bring the authorities along (%v)", err)
	}
	source := filepath.Join(scratch, "verifier.go")
	if err := os.WriteFile(source, []byte(verifier), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(scratch, "verifier"), source)
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	i, err := Build(filepath.Join(scratch, "verifier"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := os.ReadFile(filepath.Join("..", "..", "cmd", "ccctl", "testdata", "isrgrootx1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	docker := dockerOf(t)
	docker(archive(i), "load")
	t.Cleanup(func() { docker(nil, "image", "rm", i.Reference()) })
	if out := docker(bytes.NewReader(certificate), "run", "--rm", "--interactive", "--network", "none", i.Reference()); out != "verified" {
		t.Errorf("it says %q", out)
	}
}

func TestProgramErrors(t *testing.T) {
	dir := t.TempDir()
	path, err := ccctl()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	patched := func(offset int, bytes ...byte) []byte {
		p := append([]byte(nil), program...)
		copy(p[offset:], bytes)
		return p
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "it is not a Linux program"},
		{"script", []byte("#!/bin/sh\n"), "it is not a Linux program"},
		{"macOS", append([]byte{0xcf, 0xfa, 0xed, 0xfe}, program[4:4096]...), "it is not a Linux program"},
		{"arm64", patched(18, 0xb7, 0), "it is a program for arm64; the image needs ccctl for linux/amd64"},
		{"riscv", patched(18, 0xf3, 0), "it is a program for EM_RISCV"},
		{"object file", patched(16, 1, 0), "it is not a program but an ELF file of type ET_REL"},
		{"dynamic", patched(64, 3, 0, 0, 0), "it is dynamically linked, and the image has no libraries"},
	} {
		name := filepath.Join(dir, tt.name)
		if err := os.WriteFile(name, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Build(name); err == nil || !strings.HasPrefix(err.Error(), "build image from "+name) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := Build(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
