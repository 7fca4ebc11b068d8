package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// TestKeyServerCustody: what a server that is started from here could not read is refused before it is started.
func TestKeyServerCustody(t *testing.T) {
	t.Parallel()
	kv := KeyServerSecret{VaultKV: &KeyServerVaultKV{Mount: "secret", Path: "model"}}
	transit := KeyServerSecret{VaultTransit: &KeyServerVaultTransit{Mount: "transit", Key: "k", CiphertextFile: "f"}}
	kms := KeyServerSecret{AlibabaKMS: &KeyServerAlibabaKMS{CiphertextFile: "f"}}
	command := KeyServerSecret{Command: []string{"/usr/bin/key"}}
	vault := &KeyServerVault{Address: "https://vault.example.com", TokenFile: "token"}
	for _, tt := range []struct {
		name      string
		secret    KeyServerSecret
		vault     *KeyServerVault
		cloud     *KeyServerAlibabaCloud
		container bool
		want      string // empty: good
	}{
		{"KV", kv, vault, nil, false, ""},
		{"Transit", transit, vault, nil, false, ""},
		{"command", command, nil, nil, false, ""},
		{"KMS with a profile", kms, nil, &KeyServerAlibabaCloud{Region: "cn-beijing", Profile: "p"}, false, ""},
		{"KMS with a role in a container", kms, nil, &KeyServerAlibabaCloud{Region: "cn-beijing", ECSRoleName: "r"}, true, ""},
		{"KV of nowhere", kv, nil, nil, false, "vault.address: is missing; the server is not given this program's environment"},
		{"KV without token", kv, &KeyServerVault{Address: "https://vault.example.com"}, nil, false, "vault.token_file: is missing"},
		{"KMS of nowhere", kms, nil, nil, false, "alibaba_cloud.region: is missing"},
		{"KMS as nobody", kms, nil, &KeyServerAlibabaCloud{Region: "cn-beijing"}, false, "alibaba_cloud: has neither profile nor ecs_role_name"},
		{"KMS with a profile in a container", kms, nil, &KeyServerAlibabaCloud{Region: "cn-beijing", Profile: "p"}, true, "alibaba_cloud.ecs_role_name: is missing"},
		{"KV in a container", kv, vault, nil, true, "secrets[0].vault_kv: does not go with a container; no token for Vault gets into it"},
		{"Transit in a container", transit, vault, nil, true, "secrets[0].vault_transit: does not go with a container"},
		{"command in a container", command, nil, nil, true, "secrets[0].command: does not go with a container; its image holds nothing but ccctl"},
		{"variable", KeyServerSecret{Environment: "KEY"}, nil, nil, false, "secrets[0]: is a credential or a variable, which Terraform has no way to hand over"},
		{"credential", KeyServerSecret{Credential: "key"}, nil, nil, false, "secrets[0]: is a credential"},
		{"two sources", KeyServerSecret{File: "f", Command: command.Command}, nil, nil, false, "secrets[0]: has 2 sources: file, command"},
	} {
		k := testKeyServer(t, "ccctl")
		tt.secret.Name = "model"
		k.Config.Secrets, k.Config.Vault, k.Config.AlibabaCloud = []KeyServerSecret{tt.secret}, tt.vault, tt.cloud
		err := k.check(tt.container)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestKeyServerCiphertexts: a ciphertext is an input like any file, its path is absolute in the configuration, and what was
// wished stays as it was.
func TestKeyServerCiphertexts(t *testing.T) {
	t.Parallel()
	k := testKeyServer(t, "ccctl")
	dir := t.TempDir()
	sealed := filepath.Join(dir, "sealed")
	if err := os.WriteFile(sealed, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(wd, sealed)
	if err != nil {
		t.Fatal(err)
	}
	k.Config.Secrets = append(k.Config.Secrets, KeyServerSecret{Name: "kms", AlibabaKMS: &KeyServerAlibabaKMS{CiphertextFile: relative, EncryptionContext: map[string]string{"a": "b"}}})
	k.Config.AlibabaCloud = &KeyServerAlibabaCloud{Region: "cn-beijing", Profile: "p", SharedCredentialsFile: "profiles"}
	k.Config.Admin = &KeyServerAdmin{Listen: ":9433", TLS: &KeyServerAdminTLS{Certificate: "c", PrivateKey: "k", ClientCA: "ca"}}
	abs := k.absolute()
	if abs.Secrets[1].AlibabaKMS.CiphertextFile != sealed || k.Config.Secrets[1].AlibabaKMS.CiphertextFile != relative {
		t.Errorf("the ciphertext is at %s, and was wished at %s", abs.Secrets[1].AlibabaKMS.CiphertextFile, k.Config.Secrets[1].AlibabaKMS.CiphertextFile)
	}
	for _, path := range []string{abs.AlibabaCloud.SharedCredentialsFile, abs.Admin.TLS.Certificate, abs.Admin.TLS.PrivateKey, abs.Admin.TLS.ClientCA} {
		if !filepath.IsAbs(path) {
			t.Errorf("%s is relative to whatever the server's directory is", path)
		}
	}
	if k.Config.Admin.TLS.Certificate != "c" || k.Config.AlibabaCloud.SharedCredentialsFile != "profiles" {
		t.Error("the wish was changed")
	}
	abs.Admin = nil
	before, err := keyServerInputs(abs)
	if err != nil || before["secrets.kms"] == "" || before["secrets.model"] == "" {
		t.Fatalf("inputs %v, %v", before, err)
	}
	if err := os.WriteFile(sealed, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := keyServerInputs(abs); err != nil || after["secrets.kms"] == before["secrets.kms"] || after["secrets.model"] != before["secrets.model"] {
		t.Errorf("inputs %v, %v", after, err)
	}
	p := preparedContainer{KeyServerContainer: KeyServerContainer{KeyServer: k}, release: "files-x"}
	if inside := p.inside(abs); !strings.HasSuffix(inside.Secrets[1].AlibabaKMS.CiphertextFile, "/files-x/sealed-1") || abs.Secrets[1].AlibabaKMS.CiphertextFile != sealed {
		t.Errorf("in the container it is at %s", inside.Secrets[1].AlibabaKMS.CiphertextFile)
	}
	abs.Secrets[1].AlibabaKMS.CiphertextFile = filepath.Join(dir, "none")
	if _, err := keyServerInputs(abs); err == nil || !strings.Contains(err.Error(), `read secret "kms": `) {
		t.Errorf("error %v", err)
	}
}

// TestAdminTLSNeedsRestart: a listener that begins or ends to speak TLS is another listener.
func TestAdminTLSNeedsRestart(t *testing.T) {
	t.Parallel()
	secure := &keyserver.AdminTLSConfig{Certificate: "c", PrivateKey: "k", ClientCA: "a"}
	for _, tt := range []struct {
		a, b *keyserver.AdminConfig
		same bool
	}{
		{nil, nil, true},
		{nil, &keyserver.AdminConfig{Listen: ":1"}, false},
		{&keyserver.AdminConfig{Listen: ":1"}, &keyserver.AdminConfig{Listen: ":1", ServerNames: []string{"a"}}, true},
		{&keyserver.AdminConfig{Listen: ":1"}, &keyserver.AdminConfig{Listen: ":1", TLS: secure}, false},
		{&keyserver.AdminConfig{Listen: ":1", TLS: secure}, &keyserver.AdminConfig{Listen: ":1", TLS: &keyserver.AdminTLSConfig{}}, true},
		{&keyserver.AdminConfig{Listen: ":1", TLS: secure}, &keyserver.AdminConfig{Listen: ":2", TLS: secure}, false},
	} {
		if (listenerOf(tt.a) == listenerOf(tt.b)) != tt.same {
			t.Errorf("%v and %v", tt.a, tt.b)
		}
	}
}
