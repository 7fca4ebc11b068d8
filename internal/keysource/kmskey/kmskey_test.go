package kmskey_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/kmskey"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

var secret = [keysource.Size]byte([]byte("0123456789abcdef"))

// service is a simulated account, which the environment leads to, with the key alias/models.
func service(t *testing.T) *ecssim.Server {
	t.Helper()
	sim, err := ecssim.New(ecssim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	t.Cleanup(func() { web.Close(); sim.Close() })
	environment(t, web.URL)
	out, err := sim.Do("cn-beijing", "CreateKey", nil)
	if err != nil {
		t.Fatal(err)
	}
	metadata, _ := out["KeyMetadata"].(map[string]any)
	id, _ := metadata["KeyId"].(string)
	if _, err := sim.Do("cn-beijing", "CreateAlias", map[string]string{"KeyId": id, "AliasName": "alias/models"}); err != nil {
		t.Fatal(err)
	}
	return sim
}

// environment names a service; nothing of the developer's own is left.
func environment(t *testing.T, url string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "ALICLOUD_") || strings.HasPrefix(name, "ALIBABA_CLOUD_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"ALICLOUD_REGION": "cn-beijing", "ALICLOUD_ACCESS_KEY": ecssim.DefaultAccessKey, "ALICLOUD_SECRET_KEY": ecssim.DefaultSecretKey,
		"ALIBABA_CLOUD_ENDPOINT_KMS": url, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, ref string) ([keysource.Size]byte, error) {
	t.Helper()
	k, err := kmskey.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	key := [keysource.Size]byte{1}
	err = k.Read(t.Context(), &key)
	return key, err
}

func TestSealAndRead(t *testing.T) {
	sim := service(t)
	dir := t.TempDir()
	for _, bound := range []map[string]string{nil, {"model": "resnet50", "team": "a"}} {
		k := kmskey.Key{File: filepath.Join(dir, fmt.Sprintf("sealed%d", len(bound))), Context: bound}
		sealed, err := k.Seal(t.Context(), "alias/models", &secret)
		if err != nil {
			t.Fatal(err)
		}
		write(t, k.File, sealed.CiphertextBlob+"\n")
		if key, err := read(t, k.Reference()); err != nil || key != secret {
			t.Errorf("%s: %v", k.Reference(), err)
		}
	}
	blob := func(action string, arguments map[string]string) string {
		t.Helper()
		arguments["KeyId"] = "alias/models"
		out, err := sim.Do("cn-beijing", action, arguments)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := out["CiphertextBlob"].(string)
		return text
	}
	file := func(name, text string) string { return "kms:" + write(t, filepath.Join(dir, name), text) }
	// What others make is read as well: hex digits, and a key that nobody has ever seen.
	if key, err := read(t, file("hex", blob("Encrypt", map[string]string{"Plaintext": hex.EncodeToString(secret[:])}))); err != nil || key != secret {
		t.Errorf("hex: %v", err)
	}
	if key, err := read(t, file("drawn", blob("GenerateDataKeyWithoutPlaintext", map[string]string{"KeySpec": "AES_128"}))); err != nil || key == [keysource.Size]byte{} {
		t.Errorf("drawn: %v", err)
	}
	good := blob("Encrypt", map[string]string{"Plaintext": "MDEyMzQ1Njc4OWFiY2RlZg=="})
	for _, tt := range []struct{ name, ref, want string }{
		{"another size", file("long", blob("GenerateDataKeyWithoutPlaintext", map[string]string{"KeySpec": "AES_256"})), "what was encrypted is no wrap key: found 44 characters, want 24 of base64 or 32 hex digits"},
		{"no key", file("zero", blob("Encrypt", map[string]string{"Plaintext": strings.Repeat("0", 32)})), "all 16 bytes are zero"},
		{"the key itself", file("raw", string(secret[:])), "does not hold the CiphertextBlob that the action Encrypt answers, one line of base64"},
		{"the key itself in base64", file("base64", "MDEyMzQ1Njc4OWFiY2RlZg=="), "does not hold the CiphertextBlob"},
		{"two lines", file("two", good[:64]+"\n"+good[64:]), "does not hold the CiphertextBlob"},
		{"too long", file("huge", strings.Repeat(good, 100)), "does not hold the CiphertextBlob"},
		{"no file", "kms:" + filepath.Join(dir, "none"), "no such file"},
		{"a directory", "kms:" + dir, "it is not a regular file"},
		{"no context", "kms:" + filepath.Join(dir, "sealed2"), "call Decrypt: InvalidParameter: The specified parameter \"CiphertextBlob\" is not valid"},
		{"another context", "kms:model=resnet50,team=b@" + filepath.Join(dir, "sealed2"), "encrypted with another encryption context: give the same names and values"},
	} {
		key, err := read(t, tt.ref)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "read wrap key from ") {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
		if key != [keysource.Size]byte{} {
			t.Errorf("%s: the array is not wiped", tt.name)
		}
		for _, form := range []string{string(secret[:]), "MDEyMzQ1", good[:20]} {
			if err != nil && strings.Contains(err.Error(), form) {
				t.Errorf("%s: the error tells %s", tt.name, form)
			}
		}
		var unreachable *keysource.UnreachableError
		if errors.As(err, &unreachable) {
			t.Errorf("%s: it is said to go well later", tt.name)
		}
	}
	ref := file("good", good)
	for name, value := range map[string]string{"ALICLOUD_REGION": "", "ALICLOUD_SECRET_KEY": "another", "ALICLOUD_ACCESS_KEY": ""} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			want := map[string]string{"ALICLOUD_REGION": "region is not set, neither in the configuration nor in ALICLOUD_REGION", "ALICLOUD_SECRET_KEY": "SignatureDoesNotMatch",
				"ALICLOUD_ACCESS_KEY": "only one of the two is set"}[name]
			if _, err := read(t, ref); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

// TestUnreachable: what may go well later is told from what will not.
func TestUnreachable(t *testing.T) {
	sim := service(t)
	k := kmskey.Key{File: filepath.Join(t.TempDir(), "sealed")}
	sealed, err := k.Seal(t.Context(), "alias/models", &secret)
	if err != nil {
		t.Fatal(err)
	}
	write(t, k.File, sealed.CiphertextBlob)
	sim.Inject(ecssim.Throttled("Decrypt", 1))
	if key, err := read(t, k.Reference()); err != nil || key != secret {
		t.Errorf("after throttling: %v", err)
	}
	var unreachable *keysource.UnreachableError
	sim.Inject(ecssim.Refused("Decrypt", http.StatusServiceUnavailable, "ServiceUnavailableTemporary", -1))
	if _, err := read(t, k.Reference()); !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "reach KMS in cn-beijing: call Decrypt: ServiceUnavailableTemporary") {
		t.Errorf("error %v", err)
	}
	if _, err := k.Seal(t.Context(), "alias/none", &secret); err == nil || !strings.Contains(err.Error(), "seal wrap key with alias/none: call Encrypt: Forbidden.AliasNotFound") {
		t.Errorf("error %v", err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]kmskey.Key{
		"kms:keys/wrap-key.kms":         {File: "keys/wrap-key.kms"},
		"kms:@a@b":                      {File: "a@b"},
		"kms:a=b@f":                     {File: "f", Context: map[string]string{"a": "b"}},
		"kms:model=resnet50,x=y=z@f@g":  {File: "f@g", Context: map[string]string{"model": "resnet50", "x": "y=z"}},
		"kms:/var/lib/a,b=c/wrap-key":   {File: "/var/lib/a,b=c/wrap-key"},
		"kms:@/var/lib/a@b,c=d/wrapkey": {File: "/var/lib/a@b,c=d/wrapkey"},
	} {
		got, err := kmskey.Parse(ref)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
		if again, err := kmskey.Parse(got.Reference()); err != nil || !cmp.Equal(again, got) {
			t.Errorf("%s: written as %s", ref, got.Reference())
		}
	}
	for ref, want := range map[string]string{
		"kms:":          "it names no file",
		"kms:a=b@":      "it names no file",
		"kms:a@f":       `"a" is not NAME=VALUE`,
		"kms:a=@f":      `"a=" is not NAME=VALUE`,
		"kms:=b@f":      `"=b" is not NAME=VALUE`,
		"kms:a=b,a=c@f": "a is named twice",
		"kms:a=b,@f":    `"" is not NAME=VALUE`,
		"vault:kv:a/b":  "it does not start with kms:",
	} {
		if k, err := kmskey.Parse(ref); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "want kms:FILE, or kms:NAME=VALUE,NAME=VALUE@FILE") {
			t.Errorf("%s: %+v, %v; want %q", ref, k, err, want)
		}
	}
}

func TestAccount(t *testing.T) {
	environment(t, "")
	dir := t.TempDir()
	profiles := write(t, filepath.Join(dir, "config.json"), `{"profiles":[{"name":"dev","mode":"AK","access_key_id":"LTAIprofile","access_key_secret":"s"}]}`)
	for _, tt := range []struct {
		name    string
		account kmskey.Account
		want    string // the source of the credentials, or the error
	}{
		{"environment", kmskey.Account{}, "cn-beijing access_key and secret_key"},
		{"region", kmskey.Account{Region: "cn-shanghai"}, "cn-shanghai access_key and secret_key"},
		{"profile before the environment's keys", kmskey.Account{Profile: "dev", CredentialsFile: profiles}, `cn-beijing profile "dev" of ` + profiles},
		{"role, forbidden here", kmskey.Account{ECSRoleName: "r"}, "ALIBABA_CLOUD_ECS_METADATA_DISABLED forbids"},
		{"both", kmskey.Account{Profile: "dev", ECSRoleName: "r"}, "both a profile and the role"},
		{"endpoint and network", kmskey.Account{Endpoint: "kms.example.com", Network: "vpc"}, "both an endpoint and a network"},
		{"endpoint in the clear", kmskey.Account{Endpoint: "http://kms.example.com"}, "plain http is for loopback addresses only"},
		{"file alone", kmskey.Account{CredentialsFile: profiles}, "no profile in it"},
		{"network", kmskey.Account{Network: "lan"}, `"lan" is not a network; write "public" or "vpc"`},
		{"missing profile", kmskey.Account{Profile: "prod", CredentialsFile: profiles}, "no such profile"},
	} {
		c, err := tt.account.Client()
		got := fmt.Sprint(err)
		if err == nil {
			got = c.Region() + " " + c.CredentialSource()
			c.Close()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %q", tt.name, got, tt.want)
		}
	}
}
