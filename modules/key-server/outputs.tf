output "address" {
  description = "Where the server answers from here, `HOST:PORT`."
  value       = cc_key_server.attestation.address
}

output "secret_provision_servers" {
  description = "`SECRET_PROVISION_SERVERS` of the enclave's manifest: the first of `server_names`, which must lead to the server on the enclave's machine, and the port."
  value       = "${var.server_names[0]}:${regex("[0-9]+$", cc_key_server.attestation.address)}"
}

output "ca_certificate_file" {
  description = "What enclaves trust the server by (`SECRET_PROVISION_CA_CHAIN_PATH`); it goes into the enclave's image. Null with `certificate`."
  value       = one(cc_tls_materials.attestation[*].ca_certificate_file)
}

output "ca_certificate_pem" {
  description = "The same as text; null with `certificate`."
  value       = one(cc_tls_materials.attestation[*].ca_certificate_pem)
}

output "config_sha256" {
  description = "SHA-256 of the configuration in force, which the audit log shows too."
  value       = cc_key_server.attestation.config_sha256
}

output "log_file" {
  description = "The log of a process: a line for every enclave, with the reason if it was refused. Null for a container, where `docker logs` shows it."
  value       = cc_key_server.attestation.log_file
}

output "status_arguments" {
  description = "Arguments of `data.cc_key_server_status`, for a `check` of yours: `host`, `container_name` and `directory`. A module has none itself, because it would fail every `terraform test` that only plans."
  # The address is unknown as long as a server is about to be made or changed,
  # and so is this: a plan does not look for what its apply makes.
  value = cc_key_server.attestation.address == null ? null : {
    host           = local.host
    container_name = cc_key_server.attestation.container_name
    directory      = local.docker ? null : cc_key_server.attestation.directory
  }
}
