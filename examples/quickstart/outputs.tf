output "key_server_address" {
  description = "Where enclaves attest, host:port."
  value       = cc_key_server.attestation.address
}

output "ca_certificate_file" {
  description = "What the enclave trusts the key server by (SECRET_PROVISION_CA_CHAIN_PATH)."
  value       = cc_tls_materials.attestation.ca_certificate_file
}

output "upload_directory" {
  description = "What goes to the enclave host: encrypted files only."
  value       = "${var.directory}/upload"
}

output "key_server_log" {
  description = "Why enclaves were let in or refused."
  value       = cc_key_server.attestation.log_file
}
