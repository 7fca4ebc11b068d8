package resources_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// TestKeyServerServices runs a server whose secrets are kept by Vault, by KMS and by a program, with every condition that a
// rule may have and an administrative listener with TLS, and imports it.
func TestKeyServerServices(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	c := newCloud(t, ecssim.Options{})
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/secret/data/model" || r.Header.Get("X-Vault-Token") != "canary-token" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": map[string]any{"wrap_key": hex.EncodeToString([]byte(openedKey))}, "metadata": map[string]any{"version": 1}}})
	}))
	t.Cleanup(vault.Close)
	mustWrite(t, f.path("token"), []byte("canary-token\n"), 0o600)
	mustWrite(t, f.path("hex"), []byte(hex.EncodeToString([]byte(openedKey))+"\n"), 0o600)
	mustWrite(t, f.path("profiles.json"), fmt.Appendf(nil, `{"profiles":[{"name":"server","mode":"AK","access_key_id":%q,"access_key_secret":%q}]}`, ecssim.DefaultAccessKey, ecssim.DefaultSecretKey), 0o600)
	id := c.kmsKey()
	c.seal(f.path("sealed"), id, openedKey, `{"model":"m"}`)

	config := func(change ...string) string {
		p := func(name string) string { return quote(f.path(name)) }
		text := strings.NewReplacer(
			fmt.Sprintf(`[{ name = "model", file = %s }]`, p("wrap.key")), fmt.Sprintf(`[
    { name = "model", vault_kv = { mount = "secret", path = "model" }, refresh = "1h" },
    { name = "kms", alibaba_kms = { ciphertext_file = %s, encryption_context = { model = "m" } }, encoding = "hex" },
    { name = "program", command = ["/bin/cat", %s], command_timeout = "5s", form = "hex" },
  ]
  vault         = { address = %q, token_file = %s }
  alibaba_cloud = { region = "cn-beijing", endpoint = %q, profile = "server", shared_credentials_file = %s }
  admin = {
    listen       = "127.0.0.1:0"
    server_names = ["keys.example.com"]
    tls          = { certificate = %s, private_key = %s, client_ca = %s }
  }`, p("sealed"), p("hex"), vault.URL, p("token"), c.url, p("profiles.json"), p("server.pem"), p("server-key.pem"), p("server.pem")),
			`accept_advisories = ["INTEL-SA-00615"] }`, `accept_advisories = ["INTEL-SA-00615"], status_advisories = { UpToDate = ["INTEL-SA-00614"] },
      fmspc = ["00606a000000"], deny_fmspc = ["00906ed50000"], min_evaluation_number = 17 }
    config_id       = "`+strings.Repeat("c1", 64)+`"
    min_config_svn  = 0
    isv_ext_prod_id = "`+strings.Repeat("e1", 16)+`"
    isv_family_id   = "`+strings.Repeat("f1", 16)+`"
    attributes      = { flags = "0x4", flags_mask = "0xfffffffffffffffb", xfrm = "0x3", xfrm_mask = "0xff" }
    misc_select     = { value = "0x1", mask = "0xffffffff" }`,
		).Replace(f.config())
		// The mask leaves out a bit that is wanted; that is an error below, and here it is mended.
		text = strings.Replace(text, "0xfffffffffffffffb", "0xffffffffffffffff", 1)
		return strings.NewReplacer(change...).Replace(text)
	}
	fails := func(want string, change ...string) resource.TestStep {
		return resource.TestStep{Config: config(change...), ExpectError: says(want)}
	}
	var first int
	accept(t,
		fails("has bits that its mask", "0xffffffffffffffff", "0xfffffffffffffffb"),
		fails("value must be 64 bits or less as a hexadecimal number", `"0x4"`, `"4"`),
		fails("value must be 32 bits or less", `"0x1"`, `"0x100000000"`),
		fails("secrets[0] has 2 sources: file, vault_kv", `name = "model", vault_kv`, `name = "model", file = "x", vault_kv`),
		fails("vault.token_file is missing", ", token_file = "+quote(f.path("token")), ""),
		fails("alibaba_cloud has neither profile nor ecs_role_name", `profile = "server", shared_credentials_file = `+quote(f.path("profiles.json")), ""),
		fails("secrets[0].vault_kv: read wrap key from Vault, field wrap_key of secret/none", `path = "model"`, `path = "none"`),
		resource.TestStep{
			Config: config(),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(keyServerAddr, tfjsonpath.New("status"), knownvalue.StringExact("running")),
			},
			Check: func(*terraform.State) error {
				first = f.pid()
				for place, text := range processPlaces(t, first) {
					if form := findSecret(text, []byte("canary-token")); form != "" {
						t.Errorf("the token is in the server's %s", place)
					}
				}
				text := mustRead(t, f.path("server", "config.yaml"))
				for _, secret := range []string{"canary-token", openedKey, ecssim.DefaultSecretKey} {
					if findSecret(text, []byte(secret)) != "" || findSecret(mustRead(t, f.path("server", "server.log")), []byte(secret)) != "" {
						t.Errorf("%s is in the configuration or the log", secret)
					}
				}
				return nil
			},
		},
		resource.TestStep{Config: config(), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			ResourceName: keyServerAddr, ImportState: true, ImportStateId: f.server(), ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"ccctl_path"},
		},
		resource.TestStep{ // another ciphertext is an input that has changed
			PreConfig:        func() { c.seal(f.path("sealed"), id, "fedcba9876543210", `{"model":"m"}`) },
			Config:           config(),
			ConfigPlanChecks: updatesKeyServer(),
			Check: func(*terraform.State) error {
				if f.pid() != first {
					t.Error("it was restarted")
				}
				return nil
			},
		},
		resource.TestStep{ // a listener that speaks no TLS any more is another one
			Config: config(fmt.Sprintf("    tls          = { certificate = %s, private_key = %s, client_ca = %s }\n", quote(f.path("server.pem")), quote(f.path("server-key.pem")), quote(f.path("server.pem"))), ""),
			Check: func(*terraform.State) error {
				if f.pid() == first {
					t.Error("it was not restarted")
				}
				return nil
			},
		},
	)
}
