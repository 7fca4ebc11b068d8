package resources_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
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

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// updatesKeyServer is a plan that updates the server in place.
func updatesKeyServer(checks ...plancheck.PlanCheck) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: append(checks,
		plancheck.ExpectResourceAction(keyServerAddr, plancheck.ResourceActionUpdate),
		plancheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("status"), knownvalue.StringExact("running")),
		plancheck.ExpectUnknownValue(keyServerAddr, tfjsonpath.New("config_sha256")),
	)}
}

func TestKeyServerLife(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	var first, second int
	accept(t,
		resource.TestStep{
			Config: f.config(),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("status"), knownvalue.StringExact("running")),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("address"), knownvalue.StringRegexp(regexp.MustCompile(`^127\.0\.0\.1:[1-9][0-9]+$`))),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("admin_address"), knownvalue.Null()),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("id"), knownvalue.StringExact(f.server())),
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("log_file"), knownvalue.StringExact(f.path("server", "server.log"))),
			},
			Check: func(s *terraform.State) error {
				first = f.pid()
				attributes := s.RootModule().Resources[keyServerAddr].Primary.Attributes
				if state := f.state(); state.ConfigSHA256 != attributes["config_sha256"] || state.Listen != attributes["address"] {
					t.Errorf("the server is %+v, the state %v", state, attributes)
				}
				return nil
			},
		},
		resource.TestStep{Config: f.config(), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // a rule is reloaded
			Config:           f.with(func() { f.rule = "second" }),
			ConfigPlanChecks: updatesKeyServer(),
			Check: func(*terraform.State) error {
				if f.pid() != first {
					t.Error("a changed rule restarted the server")
				}
				if text := string(mustRead(t, f.path("server", "config.yaml"))); !strings.Contains(text, "name: second") {
					t.Errorf("the configuration is\n%s", text)
				}
				return nil
			},
		},
		resource.TestStep{ // an address is not
			Config: f.with(func() {
				f.further = "admin = { listen = \"127.0.0.1:0\" }\nlimits = { drain_timeout = \"5s\", unfinished_handshakes = 100 }"
			}),
			ConfigPlanChecks: updatesKeyServer(plancheck.ExpectUnknownValue(keyServerAddr, tfjsonpath.New("admin_address"))),
			Check: func(*terraform.State) error {
				if second = f.pid(); second == first {
					t.Error("a changed address did not restart the server")
				}
				return nil
			},
		},
		resource.TestStep{Config: f.config(), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			ResourceName: keyServerAddr, ImportState: true, ImportStateId: f.server(), ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"ccctl_path"}, // a server does not say which program file it came from
		},
	)
	if state := f.state(); state != nil {
		t.Errorf("process %d is left", state.PID)
	}
	if _, err := os.Stat(f.server()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// with changes the fixture and returns its configuration from then on.
func (f *keyServerFixture) with(change func()) string {
	change()
	return f.config()
}

func TestKeyServerDrift(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	config := f.config()
	file := deploy.KeyServerFilesIn(f.server()).Config
	var pid int
	running := func(*terraform.State) error { pid = f.pid(); return nil }
	steps := []resource.TestStep{{Config: config, Check: running}}
	for _, drift := range []struct {
		name     string
		change   func()
		status   string
		restarts bool
	}{
		{"killed", f.kill, "stopped", true},
		{"edited", func() { mustWrite(t, file, append(mustRead(t, file), "# mine\n"...), 0o600) }, "changed: the configuration file was edited", false},
		{"garbled", func() { mustWrite(t, file, []byte("?"), 0o600) }, "changed: the configuration file was edited", true},
		{"removed", func() { remove(t, file) }, "changed: the configuration file is missing", true},
		{"certificate", f.writeCertificate, "changed: tls.certificate has changed since the last apply", false},
		{"wrap key", f.writeKey, "changed: secrets.model has changed since the last apply", false},
	} {
		before := 0
		steps = append(steps,
			resource.TestStep{
				PreConfig: func() { before = pid; drift.change() }, RefreshState: true, ExpectNonEmptyPlan: true,
				Check: resource.TestCheckResourceAttr(keyServerAddr, "status", drift.status),
			},
			resource.TestStep{Config: config, ConfigPlanChecks: updatesKeyServer(), Check: func(*terraform.State) error {
				if pid = f.pid(); (pid != before) != drift.restarts {
					t.Errorf("%s: process %d, was %d", drift.name, pid, before)
				}
				return nil
			}},
			resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
		)
	}
	accept(t, steps...)
}

// TestKeyServerImportThenEmptyPlan writes the configuration's paths relative to
// the working directory, where the import finds absolute ones.
func TestKeyServerImportThenEmptyPlan(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	f.further = `admin = { listen = "127.0.0.1:0" }`
	w := newWorkspace(t, "")
	config := func(prefix string) {
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+f.configIn(prefix)), 0o600)
	}
	relative, err := filepath.Rel(w.dir, f.dir)
	if err != nil {
		t.Fatal(err)
	}
	config(relative)
	w.terraform("apply", "-auto-approve")
	w.terraform("state", "rm", keyServerAddr)
	w.terraform("import", keyServerAddr, f.server())
	out := w.terraform("plan")
	// The program's path is not part of a server, so naming it is the one difference.
	if !strings.Contains(out, "+ ccctl_path") || !strings.Contains(out, "0 to add, 1 to change, 0 to destroy") || strings.Count(out, "->") > 3 {
		t.Errorf("plan after import:\n%s", out)
	}
	w.env = []string{"PATH=" + filepath.Dir(ccctlPath(t)) + string(os.PathListSeparator) + os.Getenv("PATH")}
	mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(regexp.MustCompile(`(?m)^  ccctl_path.*$`).
		ReplaceAllString(terraformBlock+f.configIn(relative), "")), 0o600)
	if out := w.terraform("plan"); !strings.Contains(out, "No changes.") {
		t.Errorf("plan after import, without ccctl_path:\n%s", out)
	}
	w.terraform("destroy", "-auto-approve")
	expectOutput(t, w.fails("import", keyServerAddr, f.server()), "Error: Key server not imported", "The import id of a cc_key_server is the directory")
}

func TestKeyServerRejects(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	config := f.config()
	edit := func(old, now string) string {
		if !strings.Contains(config, old) {
			t.Fatalf("%q is not in the configuration", old)
		}
		return strings.Replace(config, old, now, 1)
	}
	rejects(t, []rejection{
		{"listen", edit(`"127.0.0.1:0"`, `"4433"`), `listen "4433" is not host:port. Write it as ":4433"`},
		{"measurement", edit(`"7d7d`, `"zz7d`), `is not hexadecimal. Write 64 hex digits.`},
		{"no measurement", edit(`mr_enclave = [`, `server_name = [`), "rules[0] has neither mr_enclave nor mr_signer"},
		{"signer alone", edit(`mr_enclave = [`, `mr_signer = [`), "rules[0].isv_prod_id is missing."},
		{"status", edit(`["UpToDate"]`, `["Fine"]`), `rules[0].tcb.accept[0] "Fine" is not a TCB status.`},
		{"number", edit(`secret     =`, "isv_prod_id = 65536\nsecret     ="), "value must be between 0 and 65535"},
		{"unknown secret", edit(`secret     = "model"`, `secret = "other"`), `rules[0].secret "other" is not among secrets.`},
		{"two sources", edit(`url = `, `region = "cn-beijing", url = `), "collateral has 2 sources."},
		{"duration", edit(`"24h"`, `"1 day"`), "value must be a positive duration"},
		{"runtime", edit(`"process"`, `"podman"`), `value must be one of "process", "docker", got: podman`},
		{"admin", edit("secrets ", "admin = { listen = \"0.0.0.0:9433\" }\nsecrets "), `admin.listen "0.0.0.0" is not a loopback address.`},
		{"program", edit(quote(ccctlPath(t)), `"/nonexistent/ccctl"`), "Could not find ccctl at /nonexistent/ccctl: no such file or directory."},
	})
	if _, err := os.Stat(f.server()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("planning made the directory: %v", err)
	}
}

// TestKeyServerUnknown plans with values that only apply knows.
func TestKeyServerUnknown(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	config := `
resource "terraform_data" "later" { input = { rules = "first", accept = ["UpToDate"], advisories = "INTEL-SA-00615", path = ` + inDir(f.dir, "server.pem") + ` } }
` + strings.NewReplacer(
		`"first"`, "terraform_data.later.output.rules",
		`["UpToDate"]`, "terraform_data.later.output.accept",
		`"INTEL-SA-00615"`, "terraform_data.later.output.advisories",
		inDir(f.dir, "server.pem"), "terraform_data.later.output.path",
	).Replace(f.config())
	if strings.Count(config, "terraform_data.later.output") != 4 {
		t.Fatal(config)
	}
	accept(t,
		resource.TestStep{Config: config, Check: func(*terraform.State) error { f.pid(); return nil }},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
	bad := strings.Replace(config, `accept = ["UpToDate"]`, `accept = ["Fine"]`, 1)
	accept(t, resource.TestStep{Config: bad, ExpectError: says(`rules[0].tcb.accept[0] "Fine" is not a TCB status.`)})
}

func TestKeyServerStartErrors(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := f.with(func() { f.listen = l.Addr().String() })
	free := f.with(func() { f.listen = "127.0.0.1:0" })
	accept(t,
		resource.TestStep{Config: taken, ExpectError: says("address already in use")},
		resource.TestStep{Config: taken, ExpectError: says("Error: Key server not started")},
		resource.TestStep{Config: free},
		resource.TestStep{ // the old one goes on
			Config: taken, ExpectError: says("It has been started with its former configuration again."),
		},
		resource.TestStep{Config: free},
		resource.TestStep{
			Config:      strings.Replace(free, "secrets ", "timeouts = { update = \"1ns\" }\nsecrets ", 1),
			PreConfig:   f.kill,
			ExpectError: says("context deadline exceeded"),
		},
		resource.TestStep{
			PreConfig: func() { remove(t, f.path("wrap.key")) },
			Config:    free, ExpectError: says(`read secret "model": read wrap key`),
		},
		resource.TestStep{PreConfig: f.writeKey, Config: free},
		resource.TestStep{ // the check that opens files has its place too
			PreConfig: func() { mustWrite(t, f.path("server-key.pem"), []byte("x"), 0o600) },
			Config:    f.with(func() { f.rule = "other" }), ExpectError: says("tls: load server certificate"),
		},
	)
	if f.state() != nil {
		t.Error("a server is left")
	}
}

func TestKeyServerCreateTimeout(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	f.further = `timeouts = { create = "1ms" }`
	accept(t,
		resource.TestStep{Config: f.config(), ExpectError: says("context deadline exceeded")},
		resource.TestStep{Config: f.with(func() { f.further = "" }), Check: func(*terraform.State) error { f.pid(); return nil }},
	)
}

func TestKeyServerReplaceDirectory(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	old := 0
	moved := strings.Replace(f.config(), inDir(f.dir, "server"), inDir(f.dir, "elsewhere"), 1)
	accept(t,
		resource.TestStep{Config: f.config(), Check: func(*terraform.State) error { old = f.pid(); return nil }},
		resource.TestStep{Config: moved, ConfigPlanChecks: expectAction(keyServerAddr, plancheck.ResourceActionDestroyBeforeCreate)},
	)
	if f.state() != nil || old == 0 {
		t.Errorf("the server in the old directory is left")
	}
}

func TestKeyServerCanary(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	c := canary{
		Config:  f.config(),
		Planted: f.server(),
		Secrets: func(t *testing.T, _ string) map[string][]byte {
			return map[string][]byte{"wrap key": mustRead(t, f.path("wrap.key")), "private key": mustRead(t, f.path("server-key.pem"))}
		},
		Places: func(t *testing.T, _ string) map[string][]byte {
			files := deploy.KeyServerFilesIn(f.server())
			places := processPlaces(t, f.pid())
			if places == nil {
				places = map[string][]byte{}
			}
			maps.Copy(places, map[string][]byte{"configuration": mustRead(t, files.Config), "log": mustRead(t, files.Log), "state file": mustRead(t, files.State)})
			return places
		},
	}
	c.Env = []string{"CC_CANARY=" + string(mustRead(t, f.path("server-key.pem")))} // must not be handed on
	c.hunt(t)
	if f.state() != nil {
		t.Error("a server is left")
	}
}

// TestKeyServerOutlivesTerraform runs the built provider, whose process ends
// with each command.
func TestKeyServerOutlivesTerraform(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	w := newWorkspace(t, f.config())
	w.terraform("apply", "-auto-approve")
	pid := f.pid()
	if out := w.terraform("plan"); !strings.Contains(out, "No changes.") || f.pid() != pid {
		t.Errorf("process %d, was %d; plan:\n%s", f.pid(), pid, out)
	}
	f.kill()
	expectOutput(t, w.terraform("plan"), `~ status = "stopped" -> "running"`, "Warning: Key server stopped", "configuration in force")
	w.terraform("apply", "-auto-approve")
	if f.pid() == pid {
		t.Error("the dead server is back under its old process id")
	}
	w.terraform("destroy", "-auto-approve")
	if f.state() != nil {
		t.Error("a server is left")
	}
}

// TestKeyServerInterrupted presses Ctrl-C while a server does not become ready.
func TestKeyServerInterrupted(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	note, program := f.path("pid"), f.path("sleeper")
	mustWrite(t, program, fmt.Appendf(nil, "#!/bin/sh\necho $$ >%s.tmp && mv %s.tmp %s\nexec sleep 600\n", note, note, note), 0o700)
	w := newWorkspace(t, strings.Replace(f.config(), quote(ccctlPath(t)), quote(program), 1))
	cmd := w.command("apply", "-auto-approve")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(note); err == nil {
			break
		} else if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			t.Fatalf("the program was not started:\n%s", &out)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("an interrupted apply succeeded:\n%s", &out)
	}
	expectOutput(t, out.String(), "Error: Key server not started", "wait for key server: context canceled")
	if _, err := os.Stat("/proc/self"); err == nil {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(mustRead(t, note)))); err == nil {
			t.Error("the process is left")
		}
	}
	if out := w.terraform("destroy", "-auto-approve"); !strings.Contains(out, "1 destroyed") {
		t.Errorf("what had begun is not known to terraform:\n%s", out)
	}
}

// TestKeyServerRelativePaths takes the state to another checkout, where no
// server runs.
func TestKeyServerRelativePaths(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	w := newWorkspace(t, f.configIn("."))
	f.dir = w.dir
	f.writeCertificate()
	f.writeKey()
	w.terraform("apply", "-auto-approve")
	if state := string(mustRead(t, filepath.Join(w.dir, "terraform.tfstate"))); strings.Contains(state, w.dir) {
		t.Errorf("the state holds a path of this machine:\n%s", state)
	}
	first := f.pid()
	away := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(away, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(away, "server"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.terraform("destroy", "-auto-approve")
	w.dir, f.dir = away, away
	if err := os.Chmod(f.path("wrap.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	expectOutput(t, w.terraform("plan"), `~ status = "stopped" -> "running"`)
	w.terraform("apply", "-auto-approve")
	if f.pid() == first {
		t.Error("no other server was started")
	}
	w.terraform("destroy", "-auto-approve")
}

func TestKeyServerWarnings(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	w := newWorkspace(t, strings.Replace(f.config(), `["UpToDate"]`, `["UpToDate", "OutOfDate"]`, 1))
	expectOutput(t, w.terraform("plan"), "Warning: Key server looser than it could be", `Rule "first" accepts TCB status OutOfDate`)
}
