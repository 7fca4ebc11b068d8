package resources_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/echoprovider"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

const openedKey = "0123456789abcdef"

// opens runs steps with a second provider, which gives back what it is configured with.
func opens(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"cc":   providerserver.NewProtocol6WithError(provider.New("test")()),
			"echo": echoprovider.NewProviderServer(),
		},
		Steps: steps,
	})
}

func fingerprintOf(t *testing.T, raw string) string {
	t.Helper()
	key, err := protectedfile.ParseKey([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return key.Fingerprint()
}

// TestWrapKeyEphemeral opens the same key wherever it is kept. It changes the environment, so it runs alone.
func TestWrapKeyEphemeral(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "raw"), []byte(openedKey), 0o600)
	mustWrite(t, filepath.Join(dir, "hex"), []byte(hex.EncodeToString([]byte(openedKey))+"\n"), 0o600)
	mustWrite(t, filepath.Join(dir, "credentials", "wrap"), []byte(openedKey), 0o600)
	mustWrite(t, filepath.Join(dir, "wrapped"), []byte("vault:v1:abc"), 0o600)
	text := base64.StdEncoding.EncodeToString([]byte(openedKey))
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers := map[string]any{
			"/v1/secret/data/resnet50":     map[string]any{"data": map[string]any{"wrap_key": text}, "metadata": map[string]any{"version": 1}},
			"/v1/transit/decrypt/resnet50": map[string]any{"plaintext": text},
		}
		if answers[r.URL.Path] == nil || r.Header.Get("X-Vault-Token") != "test-token" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": answers[r.URL.Path]})
	}))
	t.Cleanup(vault.Close)
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "credentials"))
	t.Setenv("VAULT_ADDR", vault.URL)
	t.Setenv("VAULT_TOKEN", "test-token")

	t.Setenv("CC_TEST_WRAP_KEY", hex.EncodeToString([]byte(openedKey))) // taken at the first of several openings

	var config, data strings.Builder
	var checks []statecheck.StateCheck
	for name, place := range map[string]string{
		"file":        "file = " + inDir(dir, "raw"),
		"hex_file":    "file = " + inDir(dir, "hex") + "\nform = \"hex\"",
		"environment": `environment = "CC_TEST_WRAP_KEY"`,
		"credential":  `credential = "wrap"`,
		"command":     `command = ["/bin/cat", ` + inDir(dir, "hex") + "]\nform = \"hex\"",
		"kv":          `vault_kv = { mount = "secret", path = "resnet50" }`,
		"transit":     `vault_transit = { mount = "transit", key = "resnet50", ciphertext_file = ` + inDir(dir, "wrapped") + " }",
		"fingerprint": "file = " + inDir(dir, "raw") + "\nfingerprint = " + quote(fingerprintOf(t, openedKey)),
	} {
		fmt.Fprintf(&config, "ephemeral \"cc_wrap_key\" %q {\n%s\n}\n", name, place)
		fmt.Fprintf(&data, "    %s = ephemeral.cc_wrap_key.%s\n", name, name)
		at := tfjsonpath.New("data").AtMapKey(name)
		checks = append(checks,
			statecheck.ExpectKnownValue("echo.t", at.AtMapKey("hex"), knownvalue.StringExact(hex.EncodeToString([]byte(openedKey)))),
			statecheck.ExpectKnownValue("echo.t", at.AtMapKey("fingerprint"), knownvalue.StringExact(fingerprintOf(t, openedKey))))
	}
	steps := []resource.TestStep{{
		Config:            config.String() + "provider \"echo\" {\n  data = {\n" + data.String() + "  }\n}\nresource \"echo\" \"t\" {}\n",
		ConfigStateChecks: checks,
	}}
	mustWrite(t, filepath.Join(dir, "open"), []byte(openedKey), 0o644)
	for _, tt := range map[string]struct{ config, want string }{
		"missing file":       {"file = " + inDir(dir, "none"), "Error: Wrap key not opened"},
		"readable by others": {"file = " + inDir(dir, "open"), "run chmod 0600"},
		"another key":        {"file = " + inDir(dir, "raw") + "\nfingerprint = \"0000000000000000\"", "has the fingerprint " + fingerprintOf(t, openedKey) + ", and 0000000000000000 is asked for"},
		"unset variable":     {`environment = "CC_TEST_NOT_SET"`, "CC_TEST_NOT_SET"},
		"relative program":   {`command = ["cat"]`, "is not an absolute path"},
		"forbidden":          {`vault_kv = { mount = "secret", path = "other" }`, "answered 403: permission denied"},
		"nowhere":            {"", "Exactly one of these attributes must be configured"},
		"two places":         {`environment = "A"` + "\n" + `credential = "b"`, "Exactly one of these attributes must be configured"},
		"form of a secret":   {`vault_kv = { mount = "secret", path = "resnet50" }` + "\nform = \"hex\"", "These attributes cannot be configured together"},
	} {
		steps = append(steps, resource.TestStep{Config: "ephemeral \"cc_wrap_key\" \"k\" {\n" + tt.config + "\n}\n", PlanOnly: true, ExpectError: says(tt.want)})
	}
	// The last configuration is what the test destroys with: it must be good.
	opens(t, append(steps, steps[0])...)
}

// TestWrapKeyEphemeralCanary encrypts with a key that nothing but its file keeps.
func TestWrapKeyEphemeralCanary(t *testing.T) {
	t.Parallel()
	keep := t.TempDir()
	mustWrite(t, filepath.Join(keep, "model"), []byte(strings.Repeat("weights ", 1000)), 0o600)
	mustWrite(t, filepath.Join(keep, "wrap-key"), []byte(openedKey), 0o600)
	canary{
		Config: fmt.Sprintf(`
ephemeral "cc_wrap_key" "model" {
  environment = "CC_CANARY_KEY"
}
resource "cc_encrypted_file" "model" {
  source              = %s
  destination         = "planted-file"
  enclave_path        = "models/1/saved_model.pb"
  wrap_key_wo         = ephemeral.cc_wrap_key.model.hex
  wrap_key_wo_version = 1
}
`, inDir(keep, "model")),
		Env:     []string{"CC_CANARY_KEY=" + hex.EncodeToString([]byte(openedKey))},
		Planted: "planted-file",
		Secrets: func(t *testing.T, dir string) map[string][]byte {
			t.Helper()
			sealed := mustRead(t, filepath.Join(dir, "planted-file"))
			key, err := protectedfile.ParseKey([]byte(openedKey))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := protectedfile.NewReader(strings.NewReader(string(sealed)), int64(len(sealed)), key, protectedfile.ReaderOptions{Path: "models/1/saved_model.pb"}); err != nil {
				t.Error(err)
			}
			return map[string][]byte{"wrap key": []byte(openedKey)}
		},
	}.hunt(t)
}

// TestWrapKeyEphemeralStays refuses to put the key where it would be kept.
func TestWrapKeyEphemeralStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "raw"), []byte(openedKey), 0o600)
	accept(t, resource.TestStep{
		Config:      fmt.Sprintf("ephemeral \"cc_wrap_key\" \"k\" {\n  file = %s\n}\nresource \"terraform_data\" \"leak\" {\n  input = ephemeral.cc_wrap_key.k.hex\n}\n", inDir(dir, "raw")),
		ExpectError: regexp.MustCompile(`(?i)ephemeral`),
	})
}
