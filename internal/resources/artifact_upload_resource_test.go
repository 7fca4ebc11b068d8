package resources_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

const uploadAddr = "cc_artifact_upload.test"

// uploadFixture is a folder with two plaintexts, which are encrypted into
// upload/ and sent to host/serving.
type uploadFixture struct {
	t       *testing.T
	dir     string
	host    string
	ssl     string // the resource that makes ssl.cfg
	further string
}

func newUploadFixture(t *testing.T) *uploadFixture {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the machine that gets the files is a Linux one")
	}
	f := &uploadFixture{t: t, dir: t.TempDir(), host: "{ local = {} }", ssl: `
resource "cc_encrypted_file" "ssl" {
  source        = "%[1]s/ssl.cfg"
  destination   = "%[1]s/upload/ssl.cfg"
  enclave_path  = "ssl.cfg"
  wrap_key_file = "%[1]s/wrap-key"
}
`}
	mustWrite(t, f.path("model"), []byte("weights of the model"), 0o600)
	mustWrite(t, f.path("ssl.cfg"), []byte("the key of the server"), 0o600)
	mustWrite(t, f.path("wrap-key"), []byte("0123456789abcdef"), 0o600)
	return f
}

func (f *uploadFixture) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

func (f *uploadFixture) served(name string) string { return f.path("host", "serving", name) }

func (f *uploadFixture) config() string {
	triggers := "cc_encrypted_file.model.header_sha256"
	if f.ssl != "" {
		triggers += ", cc_encrypted_file.ssl.header_sha256"
	}
	return fmt.Sprintf(f.ssl+`
resource "cc_encrypted_file" "model" {
  source        = "%[1]s/model"
  destination   = "%[1]s/upload/models/1/saved_model.pb"
  enclave_path  = "models/1/saved_model.pb"
  wrap_key_file = "%[1]s/wrap-key"
}
resource "cc_artifact_upload" "test" {
  host      = %[2]s
  directory = "%[1]s/host/serving"
  source    = "%[1]s/upload"
  triggers  = { for i, digest in [%[4]s] : i => digest }
%[3]s
}
`, f.dir, f.host, f.further, triggers)
}

// same tells that a file has arrived as it is here.
func (f *uploadFixture) same(names ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, name := range names {
			got, err := os.ReadFile(f.served(name))
			if err != nil {
				return err
			}
			if string(got) != string(mustRead(f.t, f.path("upload", name))) {
				return fmt.Errorf("%s is another file there", name)
			}
		}
		return nil
	}
}

func uploadStatus(want string) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(uploadAddr, tfjsonpath.New("status"), knownvalue.StringExact(want))
}

func TestArtifactUpload(t *testing.T) {
	t.Parallel()
	f := newUploadFixture(t)
	both := []string{"models/1/saved_model.pb", "ssl.cfg"}
	accept(t,
		resource.TestStep{
			Config: f.config(),
			Check:  f.same(both...),
			ConfigStateChecks: []statecheck.StateCheck{
				uploadStatus("in place"),
				statecheck.ExpectKnownValue(uploadAddr, tfjsonpath.New("uploaded"), knownvalue.MapSizeExact(2)),
				statecheck.ExpectKnownValue(uploadAddr, tfjsonpath.New("total_bytes"), knownvalue.Int64Exact(8192)),
				statecheck.ExpectKnownValue(uploadAddr, tfjsonpath.New("stale"), knownvalue.SetSizeExact(0)),
				statecheck.ExpectKnownValue(uploadAddr, tfjsonpath.New("id"), knownvalue.StringExact(f.path("host", "serving"))),
			},
		},
		resource.TestStep{ // nothing has changed
			Config: f.config(), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
		},
		resource.TestStep{ // the plaintext changes, and with it the file, in the same apply
			PreConfig: func() { mustWrite(t, f.path("model"), []byte("better weights"), 0o600) },
			Config:    f.config(), ConfigPlanChecks: expectAction(uploadAddr, plancheck.ResourceActionUpdate), Check: f.same(both...),
		},
		resource.TestStep{ // somebody has been there
			PreConfig: func() {
				remove(t, f.served("ssl.cfg"))
				mustWrite(t, f.served("models/1/saved_model.pb"), []byte("theirs"), 0o644)
				mustWrite(t, f.served("foreign"), []byte("theirs"), 0o644)
			},
			RefreshState: true, ExpectNonEmptyPlan: true,
			Check: resource.TestCheckResourceAttr(uploadAddr, "status", "changed: missing: ssl.cfg; altered: models/1/saved_model.pb"),
		},
		resource.TestStep{Config: f.config(), ConfigPlanChecks: expectAction(uploadAddr, plancheck.ResourceActionUpdate), Check: f.same(both...), ConfigStateChecks: []statecheck.StateCheck{uploadStatus("in place")}},
		resource.TestStep{ // no longer here, and still there
			Config: f.without(""),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(uploadAddr, tfjsonpath.New("stale"), knownvalue.SetExact([]knownvalue.Check{knownvalue.StringExact("ssl.cfg")})),
			},
			Check: func(*terraform.State) error { _, err := os.Stat(f.served("ssl.cfg")); return err },
		},
		resource.TestStep{ // unless it is told otherwise
			Config: f.without("delete_stale = true"),
			Check:  func(*terraform.State) error { mustBeGone(t, f.served("ssl.cfg")); return nil },
		},
		resource.TestStep{ // plaintext does not get through a plan, and is named
			PreConfig: func() { mustWrite(t, f.path("upload", "a", "plain"), []byte("x"), 0o600) },
			Config:    f.with("delete_stale = true"), PlanOnly: true, ExpectError: says("these are no protected files: a/plain. Whoever controls the machine could read them."),
		},
		resource.TestStep{
			Config: f.with(`plaintext = ["a/plain"]`), Check: f.same(append(both, "a/plain")...),
		},
		resource.TestStep{ // modes
			Config: f.with("plaintext = [\"a/plain\"]\n  file_mode = \"0600\""), ConfigPlanChecks: expectAction(uploadAddr, plancheck.ResourceActionUpdate),
			Check: func(*terraform.State) error {
				if info, err := os.Stat(f.served("ssl.cfg")); err != nil || info.Mode().Perm() != 0o600 {
					return fmt.Errorf("%v %w", info, err)
				}
				return nil
			},
		},
	)
	if left, err := os.ReadDir(f.path("host", "serving")); err != nil || len(left) != 1 || left[0].Name() != "foreign" {
		t.Errorf("what is left is not the foreign file alone: %v %v", left, err)
	}
}

func (f *uploadFixture) with(further string) string {
	f.further = "  " + further
	return f.config()
}

// without makes no ssl.cfg.
func (f *uploadFixture) without(further string) string {
	g := *f
	g.ssl = ""
	return g.with(further)
}

// TestArtifactUploadOverSSH sends to a machine with an SSH server, and imports it.
func TestArtifactUploadOverSSH(t *testing.T) {
	t.Parallel()
	f := newUploadFixture(t)
	ssh := testhost.StartSSHD(t)
	mustWrite(t, f.path("known_hosts"), []byte("["+strings.Replace(ssh.Address, ":", "]:", 1)+" "+ssh.HostKey+"\n"), 0o600)
	f.host = fmt.Sprintf(`{ ssh = { address = %s, user = %s, known_hosts = %s, private_key_file = %s } }`,
		quote(ssh.Address), quote(ssh.User), quote(f.path("known_hosts")), quote(ssh.KeyFile))
	f.further = `plaintext = ["ca.crt"]`
	mustWrite(t, f.path("upload", "ca.crt"), []byte("certificate"), 0o600)
	id := fmt.Sprintf("ssh://%s@%s%s?known_hosts=%s&private_key_file=%s", ssh.User, ssh.Address, f.path("host", "serving"), f.path("known_hosts"), ssh.KeyFile)
	accept(t,
		resource.TestStep{Config: f.config(), Check: f.same("models/1/saved_model.pb", "ssl.cfg", "ca.crt")},
		resource.TestStep{
			ResourceName: uploadAddr, ImportState: true, ImportStateId: id, ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"triggers"}, // nothing on the machine depends on them
		},
		resource.TestStep{
			ResourceName: uploadAddr, ImportState: true, ImportStateId: strings.Replace(id, "/serving", "/other", 1),
			ExpectError: says("there is no .cc-upload.json of an upload that came to its end. The import id of a cc_artifact_upload is the directory, for this machine, or ssh://USER@HOST:PORT/DIRECTORY"),
		},
		resource.TestStep{ // a machine that is not reached is an error and no absence
			Config:      strings.Replace(f.config(), quote(ssh.Address), quote("127.0.0.1:1"), 1),
			ExpectError: says("connection refused"),
		},
	)
	mustBeGone(t, f.path("host", "serving"))
}

// TestArtifactUploadKeyVersion gives the SSH key as an ephemeral value: another one counts when its version changes, and
// not before.
func TestArtifactUploadKeyVersion(t *testing.T) {
	t.Parallel()
	f := newUploadFixture(t)
	machine := testhost.StartSSHD(t)
	if err := os.Unsetenv("SSH_AUTH_SOCK"); err != nil { // a developer's agent
		t.Fatal(err)
	}
	stranger := f.path("stranger")
	testhost.NewKey(t, stranger)
	config := func(key string) string {
		f.host = fmt.Sprintf(`{ ssh = { address = %s, user = %s, host_keys = [%s], %s } }`, quote(machine.Address), quote(machine.User), quote(machine.HostKey), key)
		return f.config()
	}
	versioned := func(file string, version int) string {
		return config(fmt.Sprintf("private_key_wo = file(%s), private_key_wo_version = %d", quote(file), version))
	}
	var before os.FileInfo
	same := func(*terraform.State) error {
		now, err := os.Stat(f.served("ssl.cfg"))
		if err == nil && before != nil && !os.SameFile(before, now) {
			t.Error("the file was sent again")
		}
		before = now
		return err
	}
	accept(t,
		resource.TestStep{Config: versioned(machine.KeyFile, 1), Check: same},
		resource.TestStep{Config: versioned(stranger, 1), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: versioned(stranger, 2), ExpectError: says("ssh: unable to authenticate")},
		resource.TestStep{Config: versioned(machine.KeyFile, 2), ConfigPlanChecks: expectAction(uploadAddr, plancheck.ResourceActionUpdate), Check: same},
		resource.TestStep{Config: config("private_key_file = " + quote(machine.KeyFile))}, // a destroy is told of no write-only argument
	)
	mustBeGone(t, f.path("host", "serving"))
}

func TestArtifactUploadOfSingleFiles(t *testing.T) {
	t.Parallel()
	f := newUploadFixture(t)
	config := func(further string) string {
		return fmt.Sprintf(`
resource "cc_encrypted_file" "test" {
  source        = "%[1]s/model"
  destination   = "%[1]s/model.pf"
  enclave_path  = "models/1/m"
  wrap_key_file = "%[1]s/wrap-key"
}
resource "cc_artifact_upload" "test" {
  host      = { local = {} }
  directory = "%[1]s/host/serving"
  files     = { "models/模型/1/m" = cc_encrypted_file.test.destination }
  %[2]s
}
`, f.dir, further)
	}
	accept(t,
		resource.TestStep{
			PreConfig:   func() { mustWrite(t, f.served("models/模型/1/m"), []byte("theirs"), 0o644) },
			Config:      config(""),
			ExpectError: says("these are there, differ, and were not uploaded by this: models/模型/1/m. Remove them there, choose another directory, or set allow_overwrite"),
		},
		resource.TestStep{Config: config("allow_overwrite = true")},
		resource.TestStep{Config: config("on_destroy = \"keep\"")},
	)
	if got := mustRead(t, f.served("models/模型/1/m")); len(got) != 4096 {
		t.Errorf("it is kept, with %d bytes", len(got))
	}
	mustBeGone(t, f.served(".cc-upload.json"))
}

func TestArtifactUploadRejects(t *testing.T) {
	t.Parallel()
	f := newUploadFixture(t)
	mustWrite(t, f.path("up", "plain"), []byte("x"), 0o600)
	mustWrite(t, f.path("keys", "key.pem"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600)
	config := func(arguments string) string {
		return "resource \"cc_artifact_upload\" \"test\" {\n" + strings.ReplaceAll(arguments, "DIR", f.dir) + "\n}\n"
	}
	const base = "host = { local = {} }\ndirectory = \"/srv/models\"\n"
	rejects(t, []rejection{
		{"both", config(base + `source = "DIR/up"` + "\n" + `files = { a = "b" }`), "Exactly one of these attributes must be configured: [source,files]"},
		{"plaintext", config(base + `source = "DIR/up"`), "these are no protected files: plain."},
		{"private key", config(base + "source = \"DIR/keys\"\nplaintext = [\"key.pem\"]"), "it holds a private key, which is not sent in plaintext, named or not."},
		{"relative directory", config("host = { local = {} }\ndirectory = \"models\"\nsource = \"DIR/up\""), "value must be an absolute path below / in its shortest form"},
		{"name that leads out", config(base + `files = { "../a" = "DIR/up/plain" }`), `"../a" is not a relative path without . and .. in it`},
		{"host", config("host = { ssh = { address = \"h\" } }\ndirectory = \"/srv/models\"\nsource = \"DIR/up\""), "host.ssh has not exactly one of host_keys and known_hosts."},
	})
}

// TestArtifactUploadCanary looks for what is encrypted, and its key, in what Terraform keeps and in what arrives.
func TestArtifactUploadCanary(t *testing.T) {
	t.Parallel()
	f := newUploadFixture(t)
	ssh := testhost.StartSSHD(t)
	f.host = fmt.Sprintf(`{ ssh = { address = %s, user = %s, host_keys = [%s], private_key_file = %s } }`,
		quote(ssh.Address), quote(ssh.User), quote(ssh.HostKey), quote(ssh.KeyFile))
	c := canary{
		Config: f.config(), Planted: f.path("host", "serving"),
		Secrets: func(t *testing.T, _ string) map[string][]byte {
			return map[string][]byte{
				"wrap key": mustRead(t, f.path("wrap-key")), "model": mustRead(t, f.path("model")), "ssl.cfg": mustRead(t, f.path("ssl.cfg")), "SSH key": mustRead(t, ssh.KeyFile),
			}
		},
		Places: func(t *testing.T, _ string) map[string][]byte {
			return map[string][]byte{"model there": mustRead(t, f.served("models/1/saved_model.pb")), "list there": mustRead(t, f.served(".cc-upload.json"))}
		},
	}
	c.hunt(t)
}
