// Package custody is the part of a key server's configuration that says which services keep its wrap keys: HashiCorp Vault or
// OpenBao, and Alibaba Cloud's Key Management Service.
//
// Which server is asked, and as whom, is said once for all secrets ([Vault], [AlibabaCloud]); what is not said there is the
// environment's to say. No secret is in a configuration: a token is in a file, which is read anew each time, and keys of the
// cloud are in a profile, or come with the role of the machine.
package custody

import (
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/kmskey"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/vaultkey"
)

// Vault is the server of HashiCorp Vault or OpenBao.
type Vault struct {
	// Address is its URL; plain http for a loopback address only. Absent: VAULT_ADDR.
	Address string `yaml:"address,omitempty"`
	// Namespace is where the mounts are. Absent: VAULT_NAMESPACE.
	Namespace string `yaml:"namespace,omitempty"`
	// CA is a PEM file of the authorities for its certificate, instead of the system's. Absent: VAULT_CACERT.
	CA string `yaml:"ca,omitempty"`
	// TokenFile holds the token, which an agent may renew. Absent: VAULT_TOKEN, VAULT_TOKEN_FILE or ~/.vault-token.
	TokenFile string `yaml:"token_file,omitempty"`
}

// Server is where keys are read from. A nil Vault is the environment's.
func (v *Vault) Server() vaultkey.Server {
	if v == nil {
		return vaultkey.Server{}
	}
	return vaultkey.Server{Address: v.Address, Namespace: v.Namespace, CAFile: v.CA, TokenFile: v.TokenFile}
}

// AlibabaCloud is the account whose Key Management Service is asked.
type AlibabaCloud struct {
	// Region is that of the keys. Absent: ALICLOUD_REGION.
	Region string `yaml:"region,omitempty"`
	// Network is "public" (default) or "vpc".
	Network string `yaml:"network,omitempty"`
	// Endpoint is another address of the service, such as that of an instance of KMS, instead of the network's.
	Endpoint string `yaml:"endpoint,omitempty"`
	// Profile is one of SharedCredentialsFile, or of the aliyun command's own file.
	Profile               string `yaml:"profile,omitempty"`
	SharedCredentialsFile string `yaml:"shared_credentials_file,omitempty"`
	// ECSRoleName is the RAM role of the ECS instance that the server runs on.
	ECSRoleName string `yaml:"ecs_role_name,omitempty"`
}

// Account is who asks. A nil AlibabaCloud is the environment's.
func (a *AlibabaCloud) Account() kmskey.Account {
	if a == nil {
		return kmskey.Account{}
	}
	return kmskey.Account{Region: a.Region, Network: a.Network, Endpoint: a.Endpoint, Profile: a.Profile, CredentialsFile: a.SharedCredentialsFile, ECSRoleName: a.ECSRoleName}
}

// VaultKV is a key in a secret of a KV engine of version 2, as base64 or hex digits.
type VaultKV struct {
	Mount string `yaml:"mount"`
	Path  string `yaml:"path"`
	// Field is wrap_key unless given.
	Field string `yaml:"field,omitempty"`
}

// Source reads it.
func (k *VaultKV) Source(v *Vault) keysource.Source {
	field := k.Field
	if field == "" {
		field = vaultkey.DefaultField
	}
	return vaultkey.KV{Mount: k.Mount, Path: k.Path, Field: field, Server: v.Server()}
}

// VaultTransit is a key in a file, wrapped by a key of the Transit engine.
type VaultTransit struct {
	Mount          string `yaml:"mount"`
	Key            string `yaml:"key"`
	CiphertextFile string `yaml:"ciphertext_file"`
}

// Source reads it.
func (t *VaultTransit) Source(v *Vault) keysource.Source {
	return vaultkey.Transit{Mount: t.Mount, Key: t.Key, File: t.CiphertextFile, Server: v.Server()}
}

// AlibabaKMS is a key in a file, encrypted by a key of Alibaba Cloud's Key Management Service.
type AlibabaKMS struct {
	CiphertextFile    string            `yaml:"ciphertext_file"`
	EncryptionContext map[string]string `yaml:"encryption_context,omitempty"`
}

// Source reads it.
func (k *AlibabaKMS) Source(a *AlibabaCloud) keysource.Source {
	return kmskey.Key{File: k.CiphertextFile, Context: k.EncryptionContext, Account: a.Account()}
}

// Missing names the required fields of a source that are empty.
type Missing interface{ Missing() []string }

// Missing implements Missing.
func (k *VaultKV) Missing() []string { return empty("mount", k.Mount, "path", k.Path) }

// Missing implements Missing.
func (t *VaultTransit) Missing() []string {
	return empty("mount", t.Mount, "key", t.Key, "ciphertext_file", t.CiphertextFile)
}

// Missing implements Missing.
func (k *AlibabaKMS) Missing() []string { return empty("ciphertext_file", k.CiphertextFile) }

func empty(pairs ...string) []string {
	var names []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			names = append(names, pairs[i])
		}
	}
	return names
}
