package custody_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/custody"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/kmskey"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/vaultkey"
)

// TestSources: what is written is what is asked.
func TestSources(t *testing.T) {
	t.Parallel()
	var c struct {
		Vault   *custody.Vault        `yaml:"vault"`
		Cloud   *custody.AlibabaCloud `yaml:"alibaba_cloud"`
		KV      *custody.VaultKV      `yaml:"vault_kv"`
		Transit *custody.VaultTransit `yaml:"vault_transit"`
		KMS     *custody.AlibabaKMS   `yaml:"alibaba_kms"`
	}
	const text = `
vault: { address: "https://v", namespace: n, ca: ca.pem, token_file: token }
alibaba_cloud: { region: cn-beijing, network: vpc, endpoint: e, profile: p, shared_credentials_file: f, ecs_role_name: r }
vault_kv: { mount: secret, path: a/b }
vault_transit: { mount: transit, key: k, ciphertext_file: w }
alibaba_kms: { ciphertext_file: s, encryption_context: { a: b } }
`
	if err := yaml.Load([]byte(text), &c, yaml.WithV4Defaults(), yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	server := vaultkey.Server{Address: "https://v", Namespace: "n", CAFile: "ca.pem", TokenFile: "token"}
	account := kmskey.Account{Region: "cn-beijing", Network: "vpc", Endpoint: "e", Profile: "p", CredentialsFile: "f", ECSRoleName: "r"}
	for name, tt := range map[string]struct{ got, want keysource.Source }{
		"KV":                     {c.KV.Source(c.Vault), vaultkey.KV{Mount: "secret", Path: "a/b", Field: "wrap_key", Server: server}},
		"KV with a field":        {(&custody.VaultKV{Mount: "m", Path: "p", Field: "f"}).Source(nil), vaultkey.KV{Mount: "m", Path: "p", Field: "f"}},
		"Transit":                {c.Transit.Source(c.Vault), vaultkey.Transit{Mount: "transit", Key: "k", File: "w", Server: server}},
		"KMS":                    {c.KMS.Source(c.Cloud), kmskey.Key{File: "s", Context: map[string]string{"a": "b"}, Account: account}},
		"KMS of the environment": {c.KMS.Source(nil), kmskey.Key{File: "s", Context: map[string]string{"a": "b"}}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		source custody.Missing
		want   []string
	}{
		{&custody.VaultKV{}, []string{"mount", "path"}},
		{&custody.VaultKV{Mount: "m", Path: "p"}, nil},
		{&custody.VaultTransit{Key: "k"}, []string{"mount", "ciphertext_file"}},
		{&custody.AlibabaKMS{}, []string{"ciphertext_file"}},
		{&custody.AlibabaKMS{CiphertextFile: "f"}, nil},
	} {
		if diff := cmp.Diff(tt.want, tt.source.Missing()); diff != "" {
			t.Errorf("%+v: %s", tt.source, diff)
		}
	}
}
