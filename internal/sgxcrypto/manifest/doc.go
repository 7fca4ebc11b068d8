// Package manifest reads rendered Gramine manifests and checks one against what will lie beside it: the protected files,
// the authority's certificate, the server's certificate and the enclave's SIGSTRUCT.
//
// [Parse] and [Check] are the functions to start with. Parse takes TOML as gramine-manifest renders it from a template
// (`.manifest`) or as gramine-sgx-sign extends it with the hashes of trusted files (`.manifest.sgx`). Check returns one
// [Finding] a thing looked at; nothing is right by default: what could not be looked at is a finding too.
//
// What the enclave gets to see is decided by three lists of the manifest (Documentation/manifest-syntax.rst of Gramine 1.9):
//
//   - fs.mounts maps paths in the enclave to paths of the host; the last mount whose path leads to a file is the one that
//     holds. The mount's URI, not its path, is what is embedded in a protected file (see [Mount.HostPath]).
//   - sgx.trusted_files are compared with a hash before they are used, sgx.allowed_files are not: whoever has the host
//     writes what the enclave reads.
//   - loader.env fixes the environment. A variable that is passed through, or any with loader.insecure__use_host_env, is the
//     host's to choose; chosen well, SECRET_PROVISION_SERVERS leads the enclave to the host's own key server.
//
// The names that an enclave takes for its server's are those of secret provisioning (tools/sgx/ra-tls/secret_prov_attest.c of
// Gramine 1.0 to 1.9, with mbedTLS): see [Options.ServerCertificate].
package manifest
