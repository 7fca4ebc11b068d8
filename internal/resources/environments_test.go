package resources_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// environments are the files of examples/environments, and where the key
// server of each runs.
var environments = map[string]string{"dev": "client", "staging": "ssh", "prod": "ssh"}

var tfvarsName = regexp.MustCompile(`(?m)^([a-z_]+) += `)

// TestEnvironmentsDifferInValues: there is a file for each environment, all of
// them say the same variables, and nothing but the configuration's.
func TestEnvironmentsDifferInValues(t *testing.T) {
	dir := filepath.Join(examples, "environments")
	files, err := filepath.Glob(filepath.Join(dir, "*.tfvars"))
	if err != nil || len(files) != len(environments) {
		t.Fatalf("%v are there for %d environments (%v)", files, len(environments), err)
	}
	declared := parseBlocks(t, filepath.Join(dir, "variables.tf"), "variable")
	var all [][]string
	for _, f := range files {
		var names []string
		for _, m := range tfvarsName.FindAllStringSubmatch(string(mustRead(t, f)), -1) {
			names = append(names, m[1])
			if !slices.ContainsFunc(declared, func(b block) bool { return b.name == m[1] }) {
				t.Errorf("%s sets %s, which is no variable", f, m[1])
			}
		}
		if !slices.Contains(names, "environment") || len(names) < 10 {
			t.Errorf("%s sets only %v", f, names)
		}
		if len(all) > 0 && !slices.Equal(names, all[0]) {
			t.Errorf("%s sets %v, and %s %v", f, names, files[0], all[0])
		}
		all = append(all, names)
	}
	// What an environment is made of is in no file of its own.
	others, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range others {
		if slices.Contains([]string{"main.tf", "variables.tf", "outputs.tf"}, filepath.Base(f)) {
			continue
		}
		t.Errorf("%s is a file that one environment might have and another not", f)
	}
	if n := strings.Count(string(mustRead(t, filepath.Join(dir, "main.tf"))), "\nmodule \""); n != 1 {
		t.Errorf("%d modules are used in the place of one", n)
	}
}

// TestEnvironments plans examples/environments with the file of each environment, and applies the two that differ most. A
// second file puts the test's own machines in the place of the documentation's; everything else is as the environment has it.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	for environment, place := range environments {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			c := newComplete(t)
			c.useEnvironment(environment, place)
			files := []string{"-var-file=" + environment + ".tfvars", "-var-file=world.tfvars.json"}
			run := func(command string, more ...string) string {
				return c.w.terraform(slices.Concat([]string{command}, files, more)...)
			}
			if environment == "staging" {
				if plan := run("plan"); !strings.Contains(plan, "Plan: 9 to add, 0 to change, 0 to destroy.") || !strings.Contains(plan, `key_server_place                = "ssh"`) {
					t.Errorf("the plan is another one:\n%s", plan)
				} else if strings.Contains(plan, "Check block assertion failed") {
					t.Errorf("the plan misses a server that it makes:\n%s", plan)
				}
				return
			}
			var parts []string // prod's machine is protected, and stays in the simulated cloud
			if environment == "prod" {
				parts = []string{"-target=module.serving.module.key_server", "-target=module.serving.cc_artifact_upload.serving"}
			}
			t.Cleanup(func() { run("destroy", append(parts, "-auto-approve")...) })
			if out := run("apply", "-auto-approve"); strings.Contains(out, "Check block assertion failed") {
				t.Errorf("the server is not well after the apply:\n%s", out)
			}
			if got := strings.TrimSpace(c.w.terraform("output", "-raw", "key_server_place")); got != place {
				t.Errorf("the key server is at place %s, want %s", got, place)
			}
			key, err := c.fetch()
			if err != nil || !bytes.Equal(key[:], mustRead(t, filepath.Join(c.w.dir, "work", environment, "keys", "wrap-key"))) {
				t.Fatalf("the enclave does not get the key: %v\n%s", err, dockerOutput(t, "logs", "cc-env-"+environment))
			}
			plain := mustRead(t, filepath.Join(c.w.dir, "work", environment, "plaintext/models/digits/1/saved_model.pb"))
			if !bytes.Equal(c.open(key, "models/digits/1/saved_model.pb"), plain) {
				t.Error("the enclave sees another model")
			}
			if text := c.open(key, "ssl.cfg"); !bytes.Contains(text, []byte("PRIVATE KEY")) {
				t.Errorf("the enclave sees no ssl.cfg, but %d bytes", len(text))
			}
			if plan := run("plan"); !strings.Contains(plan, "Plan: 0 to add, 0 to change, 0 to destroy.") {
				t.Errorf("a second plan is not empty:\n%s", plan)
			}
			if environment == "prod" {
				if text := c.w.fails(slices.Concat([]string{"plan", "-destroy"}, files)...); !strings.Contains(text, "Set deletion_protection = false") {
					t.Errorf("the machine is not protected: %s", text)
				}
			}
		})
	}
}

// TestProductionGuards: what prod may not do is refused before anything is asked of anybody.
func TestProductionGuards(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "")
	w.dir, w.env = exampleTree(t, "environments"), []string{"TF_LOG="}
	w.terraform("get")
	for _, tt := range []struct{ change, want string }{
		{`-var=on_destroy=delete`, `In prod keys outlive a destroy: leave on_destroy at "keep".`},
		{`-var=allow_key_server_on_client=true`, "In prod the key server runs on a machine of the model's owner: give key_server.host."},
		{`-var=tcb={accept=["UpToDate"]}`, "In prod a verdict must know of recent TCB recoveries: set tcb.min_evaluation_number (ccctl collateral inspect shows the current one)."},
		{`-var=client={spot_strategy="SpotAsPriceGo"}`, `In prod the client machine is no spot instance, which may be reclaimed: set client.spot_strategy = "NoSpot".`},
		{`-var=key_server={}`, "The key server would run on the client machine, where whoever controls the cloud account can read the keys."},
		{`-var=environment=production`, `environment is "dev", "staging" or "prod".`},
	} {
		if text := w.fails("plan", "-var-file=prod.tfvars", tt.change); !says(tt.want).MatchString(text) {
			t.Errorf("%s: not refused with %q:\n%s", tt.change, tt.want, text)
		}
	}
	w.terraform("workspace", "new", "staging")
	want := "This is prod.tfvars in the workspace staging: run terraform workspace select prod first."
	if text := w.fails("plan", "-refresh=false", "-var-file=prod.tfvars"); !says(want).MatchString(text) {
		t.Errorf("another environment's state is planned for:\n%s", text)
	}
}

// useEnvironment makes it examples/environments instead.
func (c *complete) useEnvironment(environment, place string) {
	t := c.t
	t.Helper()
	c.w.dir = exampleTree(t, "environments")
	c.ca = filepath.Join("work", environment, "attestation", "ca_cert.pem")
	_, port, _ := strings.Cut(c.client.Address, ":")
	server := map[string]any{
		"directory": c.path("client/key-server"), "listen": c.listen, "container_name": "cc-env-" + environment, "program": map[string]string{"path": c.ccctl},
		"secrets_on_disk": environment != "prod",
	}
	if place == "client" {
		server["client_private_key_file"], server["client_ssh_port"] = c.client.KeyFile, json.Number(port)
	} else {
		server["host"] = map[string]any{"ssh": map[string]any{
			"address": c.client.Address, "host_keys": []string{c.client.HostKey}, "private_key_file": c.client.KeyFile,
		}}
	}
	world := map[string]any{
		"network":           map[string]string{"vpc_id": c.cloud.vpc, "vswitch_id": c.cloud.vswitch, "key_name": "ops"},
		"key_server":        server,
		"serving_host":      map[string]any{"ssh": map[string]any{"address": c.serving.Address, "host_keys": []string{c.serving.HostKey}, "private_key_file": c.client.KeyFile}},
		"serving_directory": c.path("sgx/serving"), "attestation_names": []string{"localhost"},
		"collateral": map[string]string{"bundle": c.path("collateral.json")}, "allow_trusted_root": c.path("root.pem"),
		"enclave": map[string]any{"mr_enclave": []any{c.vars["mr_enclave"]}, "mr_signer": []any{c.vars["mr_signer"]}},
	}
	text, err := json.Marshal(world)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(c.w.dir, "world.tfvars.json"), text, 0o600)
	c.w.terraform("get")
}
