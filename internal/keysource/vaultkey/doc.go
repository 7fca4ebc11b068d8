// Package vaultkey reads wrap keys that HashiCorp Vault or OpenBao keeps: as a field of a secret in a KV engine of
// version 2, or wrapped by a key of the Transit engine in a file beside the configuration.
//
// # References
//
// [Parse] reads a reference, which is how commands and configurations name such a key:
//
//	vault:kv:MOUNT/PATH#FIELD          the field of a secret, as base64 or as 32 hex digits
//	vault:transit:MOUNT/KEY@FILE       a file with what transit/encrypt answered ("vault:v1:...")
//
// The mount ends at the first slash, or at the first "//" for a mount whose own name has slashes: team/kv//resnet50#wrap_key.
// Without #FIELD the field is wrap_key. [Transit.Seal] makes what belongs into a Transit file.
//
// # The server
//
// Which server, and with which token, is the environment's to say, in the variables that Vault's own client reads: VAULT_ADDR,
// VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT and so on (BAO_ADDR and BAO_TOKEN where those are not set). Without a token in the environment it is
// read from VAULT_TOKEN_FILE, where an agent puts it, or from .vault-token in the home directory. Its certificate is always verified: VAULT_SKIP_VERIFY is refused, and
// plain http is for loopback addresses.
//
// A [Server] says it instead, for programs whose configuration does.
//
// Neither a key nor a token is in any error. A key that came as JSON text stays in memory until the collector takes it.
package vaultkey
