package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// TestContainerFromRegistry has the machine pull the image by its digest, and
// imports what runs then.
func TestContainerFromRegistry(t *testing.T) {
	t.Parallel()
	k := testContainer(t)
	k.Program = ownProgram(t)
	p, err := k.prepare(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	if err := p.load(t.Context()); err != nil {
		t.Fatal(full(err))
	}
	var pulls atomic.Int64
	store := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			pulls.Add(1)
		}
		store.ServeHTTP(w, r)
	}))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/team/key-server"
	docker(t, "tag", p.image.Reference(), repository+":v1")
	docker(t, "push", "--quiet", repository+":v1")
	reference := docker(t, "image", "inspect", "-f", "{{index .RepoDigests 0}}", repository+":v1")
	docker(t, "image", "rm", repository+":v1", p.image.Reference())

	k.Program, k.Image.Reference = "", reference
	applyContainer(t, k)
	fetched := pulls.Load()
	if fetched == 0 {
		t.Error("nothing was pulled")
	}
	checkHardening(t, k)
	k.Config.Rules[0].Name = "another"
	run := applyContainer(t, k)
	if pulls.Load() != fetched {
		t.Error("what was there was pulled again")
	}
	other := k
	other.Image.Reference = repository + "@sha256:" + strings.Repeat("ab", 32)
	if status := observeContainer(t, other, run); !strings.HasPrefix(status, "changed: its image is ") || !strings.HasSuffix(status, ", not abababababababab") {
		t.Errorf("another image: %q", status)
	}
	var known *Error
	if _, err := other.Apply(t.Context()); !errors.As(err, &known) || known.Summary != "Image not pulled" || !strings.Contains(err.Error(), "pull image on this machine: ") {
		t.Errorf("no such image: %s", full(err))
	}
	if status := observeContainer(t, k, run); status != KeyServerRunning {
		t.Errorf("after an image that is not there: %q", status)
	}

	found, foundRun, err := ImportKeyServerContainer(t.Context(), remote.Local{}, k.Name)
	if err != nil {
		t.Fatal(full(err))
	}
	found.Probe = k.Probe
	if diff := cmp.Diff(k, found, cmpopts.IgnoreUnexported(KeyServerConfig{})); diff != "" || foundRun.ConfigSHA256 != run.ConfigSHA256 {
		t.Errorf("imported another than was made (-made +imported):\n%s", diff)
	}
	if err := k.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
	if left := docker(t, "images", "-q", repository); left != "" {
		t.Errorf("the image is left: %s", left)
	}
}

func TestContainerImportRefusals(t *testing.T) {
	t.Parallel()
	k := testContainer(t)
	applyContainer(t, k)
	for _, tt := range []struct {
		name   string
		change func()
		want   string
	}{
		{"older", func() { writeFile(t, k.configFile(), "listen: x\n", 0o600) }, "an earlier version has written it"},
		{"malformed", func() { writeFile(t, k.configFile(), originMark+"config: [\n", 0o600) }, "read what it was made of: "},
		{"no configuration", func() { _ = os.Remove(k.configFile()) }, "config.yaml is missing"},
		{"none", func() { docker(t, "rm", "-f", k.Name) }, "import container " + k.Name + " on this machine: "},
		{"another's", func() {
			docker(t, "create", "--name", k.Name, "--label", "x=y", docker(t, "images", "-q", "cc-key-server")[:12])
		}, "it is not a key server's"},
	} {
		tt.change()
		if _, _, err := ImportKeyServerContainer(t.Context(), remote.Local{}, k.Name); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestContainerImageCheck(t *testing.T) {
	t.Parallel()
	base := KeyServerContainer{KeyServer: testKeyServer(t, "ccctl"), Name: "x", Host: remote.Local{}}
	base.Directory, base.Config.Listen = "/var/lib/x", ":4433"
	sum := strings.Repeat("0a", 32)
	pinned := "registry.example.com/team/key-server@sha256:" + sum
	for _, tt := range []struct {
		name   string
		change func(k *KeyServerContainer)
		want   string
	}{
		{"pinned", func(k *KeyServerContainer) { k.Program, k.Image.Reference = "", pinned }, ""},
		{"with a tag", func(k *KeyServerContainer) { k.Program, k.Image.Reference = "", "registry.example.com/key-server:v1" },
			`image: "registry.example.com/key-server:v1" has no digest`},
		{"malformed", func(k *KeyServerContainer) { k.Program, k.Image.Reference = "", "r.example.com/x@sha256:00" }, "is not the reference of an image by its digest"},
		{"an option", func(k *KeyServerContainer) { k.Program, k.Image.Reference = "", "--privileged@sha256:"+sum }, "is not the reference of an image by its digest"},
		{"with a program", func(k *KeyServerContainer) { k.Image.Reference = pinned }, "image: does not go with ccctl_path and ccctl_url"},
		{"URL", func(k *KeyServerContainer) {
			k.Program, k.Image.URL, k.Image.SHA256 = "", "https://example.com/ccctl", sum
		}, ""},
		{"URL with a program", func(k *KeyServerContainer) { k.Image.URL, k.Image.SHA256 = "https://example.com/ccctl", sum }, "ccctl_url: does not go with ccctl_path"},
		{"URL without a digest", func(k *KeyServerContainer) { k.Program, k.Image.URL = "", "https://example.com/ccctl" }, "ccctl_sha256: goes with ccctl_url"},
		{"digest without a URL", func(k *KeyServerContainer) { k.Image.SHA256 = sum }, "ccctl_sha256: goes with ccctl_url"},
		{"malformed digest", func(k *KeyServerContainer) {
			k.Program, k.Image.URL, k.Image.SHA256 = "", "https://example.com/ccctl", "0A"
		}, `ccctl_sha256: is "0A"`},
		{"http", func(k *KeyServerContainer) {
			k.Program, k.Image.URL, k.Image.SHA256 = "", "http://example.com/ccctl", sum
		}, `the scheme is "http", want https or file`},
		{"restart", func(k *KeyServerContainer) { k.Restart = "sometimes" }, `restart_policy: is "sometimes", not one of unless-stopped, on-failure, no`},
		{"memory", func(k *KeyServerContainer) { k.InMemory = true }, `secrets_on_disk: is false, which does not go with the restart policy "unless-stopped"`},
		{"memory, restarted on failure", func(k *KeyServerContainer) { k.InMemory, k.Restart = true, "on-failure" }, `write restart_policy = "no"`},
		{"memory alone", func(k *KeyServerContainer) { k.InMemory, k.Restart = true, "no" }, ""},
	} {
		k := base
		tt.change(&k)
		if err := k.Check(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestContainerFetchesProgram has ccctl come from a server, pinned.
func TestContainerFetchesProgram(t *testing.T) {
	t.Parallel()
	data := readFile(t, program(t, releasedCcctl))
	source := filepath.Join(t.TempDir(), "ccctl")
	writeFile(t, source, string(data), 0o600) // a download is not executable
	sum := sha256.Sum256(data)
	k := KeyServerContainer{KeyServer: testKeyServer(t, "ccctl"), Name: "x", Host: remote.Local{}}
	k.Directory, k.Config.Listen, k.Program = "/var/lib/x/y", "127.0.0.1:1", ""
	k.Image = ContainerImage{URL: "file://" + source, SHA256: hex.EncodeToString(sum[:]), Cache: filepath.Join(t.TempDir(), "cache")}
	p, err := k.prepare(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	built := k
	built.Program, built.Image = program(t, releasedCcctl), ContainerImage{}
	same, err := built.prepare(t.Context())
	if err != nil || p.image.ID() != same.image.ID() || p.sum != same.sum {
		t.Errorf("the fetched program makes another image: %s", full(err))
	}
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	if _, err := k.prepare(t.Context()); err != nil {
		t.Errorf("what was fetched is not kept: %s", full(err))
	}
	writeFile(t, source, "another", 0o600)
	k.Image.SHA256 = strings.Repeat("ab", 32)
	var known *Error
	if _, err := k.prepare(t.Context()); !errors.As(err, &known) || known.Summary != "Program ccctl not fetched" || !strings.Contains(known.Remedy, "compare it with the release's checksums") {
		t.Errorf("another file: %s", full(err))
	}
	arm := append([]byte(nil), data...)
	arm[18] = 0xb7
	writeFile(t, source, string(arm), 0o600)
	sum = sha256.Sum256(arm)
	k.Image.SHA256 = hex.EncodeToString(sum[:])
	if _, err := k.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "it is a program for arm64") {
		t.Errorf("for another machine: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	k.Image.SHA256 = strings.Repeat("cd", 32)
	if _, err := k.prepare(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
