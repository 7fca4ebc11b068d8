package resources_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// complete is examples/complete in a world where the cloud and SGX are
// simulated, and SSH, Docker, the files and the programs are real.
type complete struct {
	t        *testing.T
	w        *workspace
	cloud    *cloud
	docker   string
	client   *testhost.SSHD // of the client machine, whose programs find Docker
	serving  *testhost.SSHD // of the machine with SGX
	platform *sgxsim.Platform
	identity sgxsim.Identity
	ccctl    string
	listen   string
	ca       string // what enclaves trust the key server by, below the configuration
	vars     map[string]any
}

func newComplete(t *testing.T) *complete {
	t.Helper()
	c := &complete{t: t, docker: testhost.DockerHost(t), listen: testhost.FreeAddress(t), ca: "work/attestation/ca_cert.pem", w: newWorkspace(t, "")}
	remove(t, filepath.Join(c.w.dir, "main.tf"))
	if err := os.CopyFS(c.w.dir, os.DirFS(filepath.Join(examples, "complete"))); err != nil {
		t.Fatal(err)
	}
	c.client, c.serving = testhost.StartSSHD(t, "DOCKER_HOST="+c.docker), testhost.StartSSHD(t)
	// One key for both machines, as an agent would have it.
	c.client.KeyFile = c.keyFor(c.client, c.serving)
	clientHost, clientPort, err := net.SplitHostPort(c.client.Address)
	if err != nil {
		t.Fatal(err)
	}
	machines := ecssim.DirectoryRunner{Dir: t.TempDir(), Prepare: func(m ecssim.Machine, root string) error {
		if err := ecssim.AlibabaLinux3(m, root); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "etc/ssh/ssh_host_ed25519_key.pub"), []byte(c.client.HostKey+"\n"), 0o600)
	}}
	c.cloud = newCloud(t, ecssim.Options{Runner: machines, PublicIP: func() string { return clientHost }})
	c.cloud.importKey("ops", c.client.HostKey)
	if c.platform, err = sgxsim.New(sgxsim.Options{}); err != nil {
		t.Fatal(err)
	}
	c.identity.MRENCLAVE[0], c.identity.MRSIGNER[0] = 0x7d, 0xb1
	collateral, err := c.platform.CollateralFile(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// A program that no other test has makes an image that no other test uses.
	c.ccctl = filepath.Join(c.w.aside, "ccctl")
	mustWrite(t, c.ccctl, append(mustRead(t, ccctlPath(t)), rand.Text()...), 0o700)
	mustWrite(t, c.path("collateral.json"), collateral, 0o600)
	mustWrite(t, c.path("root.pem"), c.platform.RootPEM(), 0o600)
	mustWrite(t, c.path("graph.pb"), mustRead(t, filepath.Join(examples, "quickstart", "model", "digits.pb")), 0o600)
	c.vars = map[string]any{
		"vpc_id": c.cloud.vpc, "vswitch_id": c.cloud.vswitch, "key_name": "ops", "operator_cidrs": []string{"203.0.113.17/32"}, "enclave_cidrs": []string{"10.0.1.0/24"},
		"ssh_private_key_file": c.client.KeyFile, "ssh_port": clientPort, "key_server_directory": c.path("client/key-server"), "listen": c.listen, "ccctl_path": c.ccctl,
		"serving_machine": c.serving.Address, "serving_host_keys": []string{c.serving.HostKey}, "serving_directory": c.path("sgx/serving"),
		"mr_enclave": hex.EncodeToString(c.identity.MRENCLAVE[:]), "mr_signer": hex.EncodeToString(c.identity.MRSIGNER[:]),
		"graph": c.path("graph.pb"), "model_name": "digits", "attestation_name": "localhost", "on_destroy": "delete",
		"collateral_bundle": c.path("collateral.json"), "simulated_root": c.path("root.pem"),
	}
	c.save()
	c.w.env = []string{
		"TF_LOG=", "ALICLOUD_ACCESS_KEY=" + ecssim.DefaultAccessKey, "ALICLOUD_SECRET_KEY=" + ecssim.DefaultSecretKey,
		"ALIBABA_CLOUD_ENDPOINT_ECS=" + c.cloud.url, "ALIBABA_CLOUD_ENDPOINT_VPC=" + c.cloud.url, "ALIBABA_CLOUD_ENDPOINT_STS=" + c.cloud.url,
	}
	return c
}

// keyFor is a new key that lets into all of them.
func (c *complete) keyFor(machines ...*testhost.SSHD) string {
	c.t.Helper()
	name := filepath.Join(c.w.aside, "id")
	public := testhost.NewKey(c.t, name)
	for _, m := range machines {
		mustWrite(c.t, filepath.Join(filepath.Dir(m.KeyFile), "authorized"), []byte(public+"\n"), 0o600)
	}
	return name
}

// path is below the folder that stands for everything outside of the configuration.
func (c *complete) path(name string) string { return filepath.Join(c.w.aside, "world", name) }

func (c *complete) save() {
	c.t.Helper()
	text, err := json.MarshalIndent(c.vars, "", "  ")
	if err != nil {
		c.t.Fatal(err)
	}
	mustWrite(c.t, filepath.Join(c.w.dir, "test.auto.tfvars.json"), text, 0o600)
}

// fetch is what an enclave of the wished identity gets.
func (c *complete) fetch() ([16]byte, error) {
	c.t.Helper()
	_, port, err := net.SplitHostPort(c.listen)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	enclave := sgxsim.Enclave{Quoter: c.platform.Quoter(c.identity), Servers: "localhost:" + port, CA: mustRead(c.t, filepath.Join(c.w.dir, c.ca))}
	delivery, err := enclave.Provision(ctx)
	if err != nil {
		return [16]byte{}, err
	}
	return delivery.Key()
}

// open decrypts a file of the machine with SGX as the enclave would.
func (c *complete) open(key [16]byte, name string) []byte {
	c.t.Helper()
	keyFile, out := filepath.Join(c.t.TempDir(), "key"), filepath.Join(c.t.TempDir(), "plain")
	mustWrite(c.t, keyFile, key[:], 0o600)
	cmd := exec.Command(ccctlPath(c.t), "pf", "decrypt", "-w", keyFile, "-i", c.path("sgx/serving/"+name), "-o", out, "--path", name)
	if text, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, text)
	}
	return mustRead(c.t, out)
}

// TestEndToEnd goes the tutorial's whole way through examples/complete: a
// group, a machine, keys, a model, encrypted files on the machine with SGX, and
// a key server, from which an enclave fetches the key to open them. A second
// apply tightens the policy, and a destroy leaves nothing.
func TestEndToEnd(t *testing.T) {
	t.Parallel()
	began := time.Now()
	step := func(what string) { t.Logf("%6.1f s: %s", time.Since(began).Seconds(), what) }
	c := newComplete(t)
	step("started two SSH servers, Docker and a simulated region")
	out := c.w.terraform("apply", "-auto-approve")
	step("applied")
	destroyed := false
	t.Cleanup(func() {
		if !destroyed {
			_, _, _ = c.w.try("destroy", "-auto-approve")
		}
	})
	if strings.Contains(out, "Check block assertion failed") || strings.Contains(out, "Warning: ") && !strings.Contains(out, "Key server looser than it could be") {
		t.Errorf("the apply warns:\n%s", out)
	}
	if groups, machines := c.cloud.total("DescribeSecurityGroups"), c.cloud.total("DescribeInstances"); groups != 1 || machines != 1 {
		t.Errorf("%d groups and %d instances instead of one each", groups, machines)
	}

	key, err := c.fetch()
	if err != nil || !bytes.Equal(key[:], mustRead(t, filepath.Join(c.w.dir, "work/keys/wrap-key"))) {
		t.Fatalf("the enclave does not get the key: %v\n%s", err, dockerOutput(t, "logs", "cc-key-server"))
	}
	for there, here := range map[string]string{
		"models/digits/1/saved_model.pb": "work/plaintext/models/digits/1/saved_model.pb", "ssl.cfg": "work/plaintext/ssl_configure/ssl.cfg",
	} {
		if !bytes.Equal(c.open(key, there), mustRead(t, filepath.Join(c.w.dir, here))) {
			t.Errorf("the enclave sees another %s", there)
		}
	}
	step("an enclave fetched the key and opened its files")

	// The check's data source is read once more by each apply, which is all that there is to do.
	if plan := c.w.terraform("plan"); !strings.Contains(plan, "Plan: 0 to add, 0 to change, 0 to destroy.") {
		t.Errorf("the plan is not empty:\n%s", plan)
	}
	step("planned nothing")

	started := func() string {
		return dockerOutput(t, "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "cc-key-server")
	}
	before := started()
	c.vars["tcb_accept"] = []string{"UpToDate"}
	c.save()
	if out := c.w.terraform("apply", "-auto-approve"); !strings.Contains(out, "0 added, 1 changed, 0 destroyed") {
		t.Errorf("tightening the policy changes something else:\n%s", out)
	}
	if now := started(); now != before {
		t.Errorf("the server was restarted: %s, was %s", now, before)
	}
	var refused *sgxsim.EnclaveError
	if _, err := c.fetch(); !errors.As(err, &refused) {
		t.Errorf("the enclave is not refused: %v", err)
	}
	if log := dockerOutput(t, "logs", "cc-key-server"); !strings.Contains(log, "SWHardeningNeeded") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	c.expectCounts(1, 1)
	step("tightened the policy, and the enclave was refused")

	image := dockerOutput(t, "inspect", "-f", "{{.Image}}", "cc-key-server")
	pid := dockerOutput(t, "inspect", "-f", "{{.State.Pid}}", "cc-key-server")
	c.w.terraform("destroy", "-auto-approve")
	destroyed = true
	step("destroyed")
	c.expectNothing(image, pid)
}

// expectCounts asks the server how many it has served.
func (c *complete) expectCounts(released, refused int) {
	c.t.Helper()
	var report struct {
		Status struct{ Releases, Refusals int }
	}
	text := dockerOutput(c.t, "exec", "cc-key-server", "/ccctl", "keyserver", "status", "--state-file", "/run/cc-key-server/state.json", "--json")
	if err := json.Unmarshal([]byte(text), &report); err != nil || report.Status.Releases != released || report.Status.Refusals != refused {
		c.t.Errorf("released %d and refused %d, want %d and %d (%v)", report.Status.Releases, report.Status.Refusals, released, refused, err)
	}
}

// expectNothing looks for what a destroy should have taken with it.
func (c *complete) expectNothing(image, pid string) {
	t := c.t
	t.Helper()
	if left := dockerOutput(t, "ps", "-a", "-q", "--filter", "name=cc-key-server"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	if err := exec.Command("docker", "image", "inspect", image).Run(); err == nil {
		t.Errorf("the image %s is left", image)
	}
	if _, err := os.Stat(filepath.Join("/proc", pid)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the process %s is left", pid)
	}
	if groups, machines := c.cloud.total("DescribeSecurityGroups"), c.cloud.total("DescribeInstances"); groups != 0 || machines != 0 {
		t.Errorf("%d groups and %d instances are left", groups, machines)
	}
	for _, dir := range []string{"client/key-server", "sgx/serving"} {
		mustBeGone(t, c.path(dir))
	}
	for _, dir := range []string{"keys", "upload", "plaintext", "attestation"} {
		for name, data := range regularFiles(t, filepath.Join(c.w.dir, "work", dir)) {
			t.Errorf("%s is left in %s, with %d bytes", name, dir, len(data))
		}
	}
	var state struct{ Resources []any }
	if err := json.Unmarshal(mustRead(t, filepath.Join(c.w.dir, "terraform.tfstate")), &state); err != nil || len(state.Resources) != 0 {
		t.Errorf("%d resources are left in the state (%v)", len(state.Resources), err)
	}
}

// regularFiles are the files below a directory, which need not be there, by name.
func regularFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == dir:
			return nil
		case err != nil:
			return err
		case d.Type().IsRegular():
			rel, err := filepath.Rel(dir, name)
			if err != nil {
				return err
			}
			found[rel] = mustRead(t, name)
		case !d.IsDir():
			return fmt.Errorf("%s is of type %v", name, d.Type())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
