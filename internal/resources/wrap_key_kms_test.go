package resources_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// kmsKey makes a key in the simulated KMS and returns its id.
func (c *cloud) kmsKey() string {
	c.t.Helper()
	out, err := c.sim.Do("cn-beijing", "CreateKey", nil)
	c.check(err)
	metadata, _ := out["KeyMetadata"].(map[string]any)
	id, _ := metadata["KeyId"].(string)
	return id
}

// seal encrypts a wrap key into a file, bound to a context.
func (c *cloud) seal(file, keyID, raw, encryptionContext string) {
	c.t.Helper()
	arguments := map[string]string{"KeyId": keyID, "Plaintext": base64.StdEncoding.EncodeToString([]byte(raw))}
	if encryptionContext != "" {
		arguments["EncryptionContext"] = encryptionContext
	}
	mustWrite(c.t, file, []byte(c.do("Encrypt", "CiphertextBlob", arguments)), 0o644)
}

// TestWrapKeyEphemeralKMS opens a key that KMS has encrypted, with the provider's own identity.
func TestWrapKeyEphemeralKMS(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	dir := t.TempDir()
	id := c.kmsKey()
	file := filepath.Join(dir, "wrap-key.kms")
	c.seal(file, id, openedKey, `{"model":"resnet50"}`)
	mustWrite(t, filepath.Join(dir, "raw"), []byte(openedKey), 0o600)
	place := func(file, context string) string {
		return fmt.Sprintf("ephemeral \"cc_wrap_key\" \"k\" {\n  alibaba_kms = {\n    ciphertext_file = %s\n%s  }\n}\n", quote(file), context)
	}
	const bound = "    encryption_context = { model = \"resnet50\" }\n"
	good := c.provider() + place(file, bound)
	fails := func(config, want string) resource.TestStep {
		return resource.TestStep{Config: config, PlanOnly: true, ExpectError: says(want)}
	}
	disable := fails(good, "Rejected.Disabled: The request was rejected because the key state is Disabled")
	disable.PreConfig = func() { c.do("DisableKey", "", map[string]string{"KeyId": id}) }
	opens(t,
		resource.TestStep{
			Config:            good + "provider \"echo\" {\n  data = ephemeral.cc_wrap_key.k\n}\nresource \"echo\" \"t\" {}\n",
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue("echo.t", tfjsonpath.New("data").AtMapKey("hex"), knownvalue.StringExact(hex.EncodeToString([]byte(openedKey))))},
		},
		fails(c.provider()+place(file, ""), "encrypted with another encryption context: give the same names and values"),
		fails(c.provider("region", "cn-shanghai")+place(file, bound), "Forbidden.KeyNotFound"),
		fails(c.provider()+place(filepath.Join(dir, "raw"), ""), "does not hold the CiphertextBlob that the action Encrypt answers"),
		fails(c.provider("secret_key", "another")+place(file, bound), "SignatureDoesNotMatch"),
		fails(good[:len(good)-2]+"form = \"hex\"\n}\n", "These attributes cannot be configured together"),
		disable,
		fails(place(file, bound), "Alibaba Cloud not configured"),
	)
}

// TestWrapKeyKMSCanary encrypts with a key that KMS alone knows in clear, while calls fail in the ways that could show it.
func TestWrapKeyKMSCanary(t *testing.T) {
	t.Parallel()
	c := newCloud(t, ecssim.Options{})
	keep := t.TempDir()
	mustWrite(t, filepath.Join(keep, "model"), []byte(strings.Repeat("weights ", 1000)), 0o600)
	id := c.kmsKey()
	file := filepath.Join(keep, "wrap-key.kms")
	c.seal(file, id, openedKey, "")
	w := newWorkspace(t, fmt.Sprintf(`
ephemeral "cc_wrap_key" "model" {
  alibaba_kms = { ciphertext_file = %s }
}
resource "cc_encrypted_file" "model" {
  source              = %s
  destination         = "planted-file"
  enclave_path        = "models/1/saved_model.pb"
  wrap_key_wo         = ephemeral.cc_wrap_key.model.hex
  wrap_key_wo_version = 1
}
`, quote(file), inDir(keep, "model")))
	w.env = append(c.environment(), "DEBUG=sdk")
	text := base64.StdEncoding.EncodeToString([]byte(openedKey))
	// Once more after an answer that was cut, and not after one that is an error with the key in it.
	c.sim.Inject(ecssim.Fault{Action: "Decrypt", Raw: `{"Plaintext":"` + text, RawStatus: http.StatusOK},
		ecssim.Fault{Action: "Decrypt", Raw: `{"Plaintext":"` + text + `"}`, RawStatus: http.StatusBadRequest})
	if stderr := w.fails("plan"); !says("call Decrypt: an answer that is not the service's (HTTP 400, 2 attempts)").MatchString(stderr) {
		t.Errorf("another error:\n%s", stderr)
	}
	w.planAndApply("create")
	key, err := protectedfile.ParseKey([]byte(openedKey))
	c.check(err)
	sealed := mustRead(t, filepath.Join(w.dir, "planted-file"))
	if _, err := protectedfile.NewReader(bytes.NewReader(sealed), int64(len(sealed)), key, protectedfile.ReaderOptions{Path: "models/1/saved_model.pb"}); err != nil {
		t.Error(err)
	}
	w.planAndApply("destroy", "-destroy")
	places := w.places()
	for place, text := range places {
		if !bytes.Contains(text, []byte("planted-file")) {
			t.Errorf("the search is blind: nothing is found in the %s", place)
		}
		if form := findSecret(text, []byte(openedKey)); form != "" {
			t.Errorf("the wrap key is in the %s, as %s", place, form)
		}
	}
	if log := mustRead(t, filepath.Join(w.aside, "trace.log")); !bytes.Contains(log, []byte("Decrypt")) {
		t.Error("the log has no Decrypt")
	}
}
