package deploy

import (
	"fmt"
	"slices"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// checkCustody finds secrets that a server which this program starts could not
// read. It is given next to nothing of this program's environment, and a
// container is given nothing at all, so the configuration has to say where
// services are and as whom they are asked.
func (k KeyServer) checkCustody(container bool) []keyserver.Problem {
	var problems []keyserver.Problem
	add := func(field, message, remedy string) {
		problems = append(problems, keyserver.Problem{Field: field, Message: message, Remedy: remedy})
	}
	var vault, kms bool
	for i := range k.Config.Secrets {
		s := &k.Config.Secrets[i]
		field := fmt.Sprintf("secrets[%d]", i)
		vault, kms = vault || s.VaultKV != nil || s.VaultTransit != nil, kms || s.AlibabaKMS != nil
		switch {
		case s.Credential != "" || s.Environment != "":
			add(field, "is a credential or a variable, which Terraform has no way to hand over", "give it as file, command, vault_kv, vault_transit or alibaba_kms")
		case container && len(s.Command) > 0:
			add(field+".command", "does not go with a container", "its image holds nothing but ccctl: give the secret as file or alibaba_kms")
		case container && s.VaultKV != nil:
			add(field+".vault_kv", "does not go with a container", "no token for Vault gets into it: give the secret as file or alibaba_kms, or run the server as a process")
		case container && s.VaultTransit != nil:
			add(field+".vault_transit", "does not go with a container", "no token for Vault gets into it: give the secret as file or alibaba_kms, or run the server as a process")
		}
	}
	const environment = "the server is not given this program's environment"
	if v := k.Config.Vault; vault && !container {
		if v == nil || v.Address == "" {
			add("vault.address", "is missing", environment+": say which Vault keeps the secrets")
		}
		if v == nil || v.TokenFile == "" {
			add("vault.token_file", "is missing", environment+": name a file with the token, such as an agent's sink")
		}
	}
	if a := k.Config.AlibabaCloud; kms {
		switch {
		case a == nil || a.Region == "":
			add("alibaba_cloud.region", "is missing", environment+": say in which region the keys are")
		case container && a.ECSRoleName == "":
			add("alibaba_cloud.ecs_role_name", "is missing", "a container asks as the RAM role of its machine, with no keys of its own")
		case a.Profile == "" && a.ECSRoleName == "":
			add("alibaba_cloud", "has neither profile nor ecs_role_name", environment+": name a profile of a file, or the RAM role of the machine")
		}
	}
	return problems
}

// ownFiles points to the fields of a configuration that hold paths, given or
// not, but for those of secrets. The configuration's parts that are behind
// pointers become its own.
func ownFiles(c *keyserver.Config) []*string {
	paths := []*string{
		&c.TLS.Certificate, &c.TLS.PrivateKey, &c.Collateral.CA, &c.Collateral.Bundle, &c.Collateral.CacheDir, &c.AllowTrustedRoot,
	}
	if c.Vault != nil {
		vault := *c.Vault
		c.Vault = &vault
		paths = append(paths, &vault.CA, &vault.TokenFile)
	}
	if c.AlibabaCloud != nil {
		account := *c.AlibabaCloud
		c.AlibabaCloud = &account
		paths = append(paths, &account.SharedCredentialsFile)
	}
	if c.Admin != nil && c.Admin.TLS != nil {
		admin, secure := *c.Admin, *c.Admin.TLS
		admin.TLS, c.Admin = &secure, &admin
		paths = append(paths, &secure.Certificate, &secure.PrivateKey, &secure.ClientCA)
	}
	return paths
}

// ownSecrets gives a configuration secrets of its own, whose paths may be
// changed.
func ownSecrets(c *keyserver.Config) {
	c.Secrets = slices.Clone(c.Secrets)
	for i := range c.Secrets {
		c.Secrets[i] = c.Secrets[i].Clone()
	}
}

// secretInput identifies what a server reads of a secret from files; empty
// where only a service or a program knows.
func secretInput(s *keyserver.SecretConfig) (string, error) {
	if s.File != "" {
		key, err := OpenWrapKey(s.File)
		if err != nil {
			return "", err
		}
		return key.Fingerprint(), nil
	}
	for _, path := range s.Paths() {
		if *path == "" {
			continue
		}
		data, err := readSmallFile(*path) // a ciphertext, and no secret
		if err != nil {
			return "", err
		}
		return hexDigest(data), nil
	}
	return "", nil
}

// listenerOf is what of an administrative listener a reload cannot change.
func listenerOf(a *keyserver.AdminConfig) string {
	switch {
	case a == nil:
		return ""
	case a.TLS != nil:
		return a.Listen + " with TLS"
	default:
		return a.Listen
	}
}
