package ecssim

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestKMS: keys have regions and states, ciphertexts belong to a key and a context, and what is kept on disk is found again.
func TestKMS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Server {
		s, err := New(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	s := open()
	do := func(region, action string, arguments map[string]string, want string) map[string]any {
		t.Helper()
		out, err := s.Do(region, action, arguments)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), ": "+want+": ")) {
			t.Fatalf("%s %v: %v, want %q", action, arguments, err, want)
		}
		return out
	}
	const here, there = "cn-beijing", "cn-shanghai"
	metadata, _ := do(here, "CreateKey", nil, "")["KeyMetadata"].(map[string]any)
	id, _ := metadata["KeyId"].(string)
	do(here, "CreateAlias", map[string]string{"KeyId": id, "AliasName": "models"}, "InvalidParameter")
	do(here, "CreateAlias", map[string]string{"KeyId": id, "AliasName": "alias/models"}, "")
	do(here, "CreateAlias", map[string]string{"KeyId": id, "AliasName": "alias/models"}, "AliasAlreadyExists")
	do(here, "Encrypt", map[string]string{"KeyId": id}, "MissingParameter")
	do(here, "Encrypt", map[string]string{"Plaintext": "YQ=="}, "MissingParameter")
	do(there, "Encrypt", map[string]string{"KeyId": id, "Plaintext": "YQ=="}, "Forbidden.KeyNotFound")
	do(here, "Encrypt", map[string]string{"KeyId": id, "Plaintext": strings.Repeat("a", 9000)}, "InvalidParameter")
	do(here, "Encrypt", map[string]string{"KeyId": id, "Plaintext": "YQ==", "EncryptionContext": `{"a":1}`}, "InvalidParameter")
	seal := map[string]string{"KeyId": "alias/models", "Plaintext": "YQ==", "EncryptionContext": `{"b":"2","a":"1"}`}
	one, _ := do(here, "Encrypt", seal, "")["CiphertextBlob"].(string)
	two, _ := do(here, "Encrypt", seal, "")["CiphertextBlob"].(string)
	if one == two || one == "" {
		t.Error("a ciphertext comes twice")
	}
	s = open()
	if out := do(here, "Decrypt", map[string]string{"CiphertextBlob": one, "EncryptionContext": `{"a":"1","b":"2"}`}, ""); out["Plaintext"] != "YQ==" || out["KeyId"] != id {
		t.Errorf("decrypted %v", out)
	}
	do(here, "Decrypt", map[string]string{"CiphertextBlob": one}, "InvalidParameter")
	do(there, "Decrypt", map[string]string{"CiphertextBlob": one, "EncryptionContext": `{"a":"1","b":"2"}`}, "Forbidden.KeyNotFound")
	for _, blob := range []string{"no base64", "YQ==", base64.StdEncoding.EncodeToString([]byte(id + "\x00short"))} {
		do(here, "Decrypt", map[string]string{"CiphertextBlob": blob}, "InvalidParameter")
	}
	for action, want := range map[string]string{"DisableKey": "Rejected.Disabled", "ScheduleKeyDeletion": "Rejected.PendingDeletion", "EnableKey": ""} {
		do(here, action, map[string]string{"KeyId": id}, "")
		do(here, "Encrypt", map[string]string{"KeyId": id, "Plaintext": "YQ=="}, want)
	}
	do(here, "EnableKey", map[string]string{"KeyId": id}, "")
	drawn, _ := do(here, "GenerateDataKeyWithoutPlaintext", map[string]string{"KeyId": id, "KeySpec": "AES_128"}, "")["CiphertextBlob"].(string)
	text, _ := do(here, "Decrypt", map[string]string{"CiphertextBlob": drawn}, "")["Plaintext"].(string)
	if key, err := base64.StdEncoding.DecodeString(text); err != nil || len(key) != 16 {
		t.Errorf("a data key of %d bytes, %v", len(key), err)
	}
	do(here, "GenerateDataKeyWithoutPlaintext", map[string]string{"KeyId": id, "KeySpec": "DES"}, "InvalidParameter")
}
