package resources_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// remoteWorld is a machine with SSH and Docker, a simulated platform with an
// enclave, and a configuration that makes everything for it.
type remoteWorld struct {
	t        *testing.T
	dir      string
	ssh      *testhost.SSHD
	name     string // of the container
	listen   string
	platform *sgxsim.Platform
	identity sgxsim.Identity
	accept   string // TCB statuses
}

func newRemoteWorld(t *testing.T) *remoteWorld {
	t.Helper()
	docker := testhost.DockerHost(t)
	// A developer's agent would be asked for keys that it does not have.
	if err := os.Unsetenv("SSH_AUTH_SOCK"); err != nil {
		t.Fatal(err)
	}
	w := &remoteWorld{t: t, dir: t.TempDir(), ssh: testhost.StartSSHD(t, "DOCKER_HOST="+docker), listen: testhost.FreeAddress(t),
		name: "cc-test-" + strings.ToLower(rand.Text()[:8]), accept: `"UpToDate", "SWHardeningNeeded"`}
	var err error
	if w.platform, err = sgxsim.New(sgxsim.Options{}); err != nil {
		t.Fatal(err)
	}
	w.identity.MRENCLAVE[0], w.identity.MRSIGNER[0] = 0x7d, 0xb1
	collateral, err := w.platform.CollateralFile(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w.path("collateral.json"), collateral, 0o600)
	mustWrite(t, w.path("root.pem"), w.platform.RootPEM(), 0o600)
	mustWrite(t, w.path("model"), bytes.Repeat([]byte("weights "), 4096), 0o600)
	return w
}

func (w *remoteWorld) path(name string) string   { return filepath.Join(w.dir, name) }
func (w *remoteWorld) server() string            { return w.path("machine/key-server") }
func (w *remoteWorld) docker(a ...string) string { return dockerOutput(w.t, a...) }

func dockerOutput(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// host is the machine as a configuration has it.
func (w *remoteWorld) host() string {
	return fmt.Sprintf(`{ ssh = { address = %s, user = %s, host_keys = [%s], private_key_file = %s } }`,
		quote(w.ssh.Address), quote(w.ssh.User), quote(w.ssh.HostKey), quote(w.ssh.KeyFile))
}

// keyWO is the configuration with the SSH key as a write-only argument.
func (w *remoteWorld) keyWO(version int) string {
	return strings.Replace(w.config(), "private_key_file = "+quote(w.ssh.KeyFile),
		fmt.Sprintf("private_key_wo = file(%s), private_key_wo_version = %d", quote(w.ssh.KeyFile), version), 1)
}

// importID names the container and says how its machine is reached.
func (w *remoteWorld) importID() string {
	q := url.Values{"host_key": {w.ssh.HostKey}, "private_key_file": {w.ssh.KeyFile}}
	return "ssh://" + w.ssh.User + "@" + w.ssh.Address + "/" + w.name + "?" + q.Encode()
}

func (w *remoteWorld) config() string {
	return fmt.Sprintf(`
resource "cc_wrap_key" "model" {
  file       = %s
  on_destroy = "delete"
}
resource "cc_tls_materials" "attestation" {
  directory    = %s
  server_names = ["localhost", "127.0.0.1"]
  on_destroy   = "delete"
}
resource "cc_encrypted_file" "model" {
  source        = %s
  destination   = %s
  enclave_path  = "models/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.model.file
}
resource "cc_key_server" "test" {
  host           = %s
  runtime        = "docker"
  container_name = %s
  directory      = %s
  ccctl_path     = %s
  listen     = %s
  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }
  collateral         = { bundle = %s }
  allow_trusted_root = %s
  secrets            = [{ name = "model", file = cc_wrap_key.model.file }]
  rules = [{
    name       = "serving"
    mr_enclave = [%s]
    tcb        = { accept = [%s], accept_advisories = ["INTEL-SA-00615"] }
    secret     = "model"
  }]
}
`, quote(w.path("wrap-key")), quote(w.path("tls")), quote(w.path("model")), quote(w.path("model.pf")), w.host(), quote(w.name), quote(w.server()),
		quote(ccctlPath(w.t)), quote(w.listen), quote(w.path("collateral.json")), quote(w.path("root.pem")),
		quote(hex.EncodeToString(w.identity.MRENCLAVE[:])), w.accept)
}

// fetch is what the enclave gets from the server.
func (w *remoteWorld) fetch() ([16]byte, error) {
	ca, err := filepath.Glob(w.path("tls/*ca*.pem"))
	if err != nil || len(ca) == 0 {
		ca, _ = filepath.Glob(w.path("tls/*/*ca*.pem"))
	}
	var text []byte
	for _, name := range ca {
		if !strings.Contains(name, "key") {
			text = append(text, mustRead(w.t, name)...)
		}
	}
	_, port, err := net.SplitHostPort(w.listen)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	enclave := sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: "localhost:" + port, CA: text}
	delivery, err := enclave.Provision(ctx)
	if err != nil {
		return [16]byte{}, err
	}
	return delivery.Key()
}

// TestKeyServerOnAnotherMachine goes the whole way: keys, certificates and an
// encrypted file here, the server there, and an enclave that asks it.
func TestKeyServerOnAnotherMachine(t *testing.T) {
	w := newRemoteWorld(t)
	var container string
	id := func() string { return w.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", w.name) }
	accept(t,
		resource.TestStep{
			Config: w.config(),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("status"), knownvalue.StringExact("running")),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("address"), knownvalue.StringExact(w.listen)),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("log_file"), knownvalue.Null()),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("id"), knownvalue.StringExact("ssh://"+w.ssh.Address+w.server())),
			},
			Check: func(*terraform.State) error {
				container = id()
				key, err := w.fetch()
				if err != nil || !bytes.Equal(key[:], mustRead(t, w.path("wrap-key"))) {
					t.Errorf("the enclave did not get the key: %v", err)
				}
				if plain, err := decryptWith(t, key, w.path("model.pf")); err != nil || !bytes.Equal(plain, mustRead(t, w.path("model"))) {
					t.Errorf("the enclave cannot open the model: %v", err)
				}
				return nil
			},
		},
		resource.TestStep{Config: w.config(), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // a stricter policy refuses the same enclave, without a restart
			Config: w.with(func() { w.accept = `"UpToDate"` }), ConfigPlanChecks: updatesKeyServer(),
			Check: func(*terraform.State) error {
				if now := id(); now != container {
					t.Errorf("the server was restarted: %s, was %s", now, container)
				}
				var refused *sgxsim.EnclaveError
				if _, err := w.fetch(); !errors.As(err, &refused) {
					t.Errorf("the enclave was not refused: %v", err)
				}
				if log := w.docker("logs", w.name); !strings.Contains(log, "SWHardeningNeeded") {
					t.Errorf("the log does not say why:\n%s", log)
				}
				return nil
			},
		},
		resource.TestStep{ // the same server, found by its container's name
			ResourceName: keyServerAddr, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: w.importID(),
			Config: w.config(),
		},
		resource.TestStep{ // a key that no state has: an apply knows it and a refresh does not
			Config: strings.Replace(w.keyWO(1), "serving", "served", 1), ConfigPlanChecks: updatesKeyServer(),
			Check: func(s *terraform.State) error {
				if text := s.String(); strings.Contains(text, "PRIVATE KEY") {
					t.Errorf("the SSH key is in the state:\n%s", text)
				}
				if log := w.docker("logs", w.name); !strings.Contains(log, "configuration") || id() != container {
					t.Errorf("the rule was not reloaded:\n%s", log)
				}
				return nil
			},
		},
		resource.TestStep{ // whatever has become of it meanwhile
			PreConfig: func() { w.docker("rm", "-f", w.name) }, Config: w.config(), ConfigPlanChecks: updatesKeyServer(),
			Check: func(*terraform.State) error {
				if now := id(); now == container {
					t.Error("the container that was removed is not there again")
				}
				return nil
			},
		},
		resource.TestStep{
			Config:      strings.Replace(w.config(), quote(w.ssh.HostKey), quote(testhost.NewKey(t, w.path("other"))), 1),
			ExpectError: says("which is not among the host keys given: it is another machine, or one in between listens."),
		},
		resource.TestStep{ // another way to the same machine moves nothing
			PreConfig: func() {
				mustWrite(t, w.path("known_hosts"), []byte("["+strings.Replace(w.ssh.Address, ":", "]:", 1)+" "+w.ssh.HostKey+"\n"), 0o600)
			},
			Config:           regexp.MustCompile(`host_keys = \[[^\]]*\]`).ReplaceAllString(w.config(), "known_hosts = "+quote(w.path("known_hosts"))),
			ConfigPlanChecks: expectAction(keyServerAddr, plancheck.ResourceActionUpdate),
		},
	)
	if left := w.docker("ps", "-a", "-q", "--filter", "name="+w.name); left != "" {
		t.Errorf("Docker has left: %s", left)
	}
	if _, err := os.Stat(w.server()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	mustBeGone(t, w.path("wrap-key"))
}

func (w *remoteWorld) with(change func()) string {
	change()
	return w.config()
}

func TestKeyServerPlacementRejects(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	f.listen = "127.0.0.1:4433"
	config := f.config()
	edit := func(pairs ...string) string {
		s := strings.Replace(config, `runtime    = "process"`, `runtime = "docker"`, 1)
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(s, pairs[i]) {
				t.Fatalf("%q is not in the configuration", pairs[i])
			}
			s = strings.Replace(s, pairs[i], pairs[i+1], 1)
		}
		return s
	}
	const local = `{ local = {} }`
	key := testhost.NewKey(t, f.path("id"))
	rejects(t, []rejection{
		{"neither", edit(local, `{}`), "host has not exactly one of local and ssh."},
		{"both", edit(local, `{ local = {}, ssh = { address = "h", known_hosts = "k" } }`), "host has not exactly one of local and ssh."},
		{"no host key", edit(local, `{ ssh = { address = "h" } }`), "host.ssh has not exactly one of host_keys and known_hosts. The host's key must be known beforehand"},
		{"bad host key", edit(local, `{ ssh = { address = "h", host_keys = ["AAAA"] } }`), `"AAAA" is not of the form "ssh-ed25519 AAAA..."`},
		{"jump host", edit(local, `{ ssh = { address = "h", host_keys = [`+quote(key)+`], jump = { address = "j" } } }`),
			"host.ssh.jump has not exactly one of host_keys and known_hosts."},
		{"process elsewhere", strings.Replace(config, local, `{ ssh = { address = "h", known_hosts = "k" } }`, 1), `runtime "process" goes with host.local only.`},
		{"name of a process", strings.Replace(config, local, local+"\ncontainer_name = \"x\"", 1), `container_name, probe, image, ccctl_url, ccctl_sha256, restart_policy and secrets_on_disk go with runtime "docker" only.`},
		{"image of a process", strings.Replace(config, local, local+"\nsecrets_on_disk = false", 1), `go with runtime "docker" only.`},
		{"secrets in memory", edit(local, local+"\nsecrets_on_disk = false"),
			`secrets_on_disk is false, which does not go with the restart policy "unless-stopped". A container that Docker starts again would have no keys: nobody hands them over but an apply`},
		{"secrets in memory, restarted", edit(local, local+"\nsecrets_on_disk = false\nrestart_policy = \"on-failure\""), `write restart_policy = "no".`},
		{"restart policy", edit(local, local+"\nrestart_policy = \"always\""), `value must be one of "unless-stopped", "on-failure", "no"`},
		{"tag", strings.Replace(edit(local, local+"\nimage = \"registry.example.com/x:v1\""), "ccctl_path", "# ccctl_path", 1), `"registry.example.com/x:v1" has no digest`},
		{"image and program", edit(local, local+"\nimage = \"registry.example.com/x@sha256:"+strings.Repeat("0a", 32)+"\""), "image does not go with ccctl_path and ccctl_url."},
		{"URL without digest", strings.Replace(edit(local, local+"\nccctl_url = \"https://example.com/ccctl\""), "ccctl_path", "# ccctl_path", 1), "ccctl_sha256 goes with ccctl_url, and that with it."},
		{"URL", strings.Replace(edit(local, local+"\nccctl_url = \"http://example.com/ccctl\"\nccctl_sha256 = \""+strings.Repeat("0a", 32)+"\""), "ccctl_path", "# ccctl_path", 1), `the scheme is "http"`},
		{"two keys", edit(local, `{ ssh = { address = "h", known_hosts = "k", private_key_file = "f", private_key_wo = "k", private_key_wo_version = 1 } }`), "cannot be specified when"},
		{"key without a version", edit(local, `{ ssh = { address = "h", known_hosts = "k", private_key_wo = "k" } }`), "private_key_wo_version"},
		{"port", edit(`"127.0.0.1:4433"`, `":0"`), "listen has port 0."},
		{"admin", edit("secrets ", "admin = { listen = \"127.0.0.1:1\" }\nsecrets "), "admin does not go with a container."},
	})
}

func decryptWith(t *testing.T, key [16]byte, file string) ([]byte, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	mustWrite(t, name, key[:], 0o600)
	out := filepath.Join(t.TempDir(), "plain")
	cmd := exec.Command(ccctlPath(t), "pf", "decrypt", "-w", name, "-i", file, "-o", out, "--path", "models/1/saved_model.pb")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	return os.ReadFile(out)
}
