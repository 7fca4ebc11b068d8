// Package keyref reads references to wrap keys, the form in which a command line or a configuration names one:
//
//	FILE                               16 raw bytes
//	env:NAME                           a variable of the environment with 32 hex digits
//	credential:NAME                    a credential that systemd hands to a service
//	vault:kv:MOUNT/PATH#FIELD          a secret of HashiCorp Vault or OpenBao
//	vault:transit:MOUNT/KEY@FILE       a file whose content Vault's Transit engine unwraps
//	kms:FILE                           a file whose content Alibaba Cloud's KMS decrypts
//	kms:NAME=VALUE@FILE                the same with an encryption context
//
// A file whose name starts like one of these is named with its folder: ./env:x.
package keyref

import (
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/kmskey"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/vaultkey"
)

const (
	schemeEnv        = "env:"
	schemeCredential = "credential:" //nolint:gosec // The name of a kind of reference, and no credential.
)

// IsFile tells whether the reference is the path of a file.
func IsFile(ref string) bool {
	for _, scheme := range []string{schemeEnv, schemeCredential, vaultkey.Scheme, kmskey.Scheme} {
		if strings.HasPrefix(ref, scheme) {
			return false
		}
	}
	return true
}

// Parse reads a reference. Variables are taken out of the environment through environ.
func Parse(ref string, environ *keysource.Environ) (keysource.Source, error) {
	switch {
	case strings.HasPrefix(ref, schemeEnv):
		name := strings.TrimPrefix(ref, schemeEnv)
		if err := keysource.CheckVariableName(name); err != nil {
			return nil, err
		}
		return environ.Variable(name, ""), nil
	case strings.HasPrefix(ref, schemeCredential):
		name := strings.TrimPrefix(ref, schemeCredential)
		if err := keysource.CheckCredentialName(name); err != nil {
			return nil, err
		}
		return keysource.Credential{Name: name}, nil
	case strings.HasPrefix(ref, vaultkey.Scheme):
		return vaultkey.Parse(ref)
	case strings.HasPrefix(ref, kmskey.Scheme):
		return kmskey.Parse(ref)
	default:
		return keysource.File{Path: ref}, nil
	}
}
