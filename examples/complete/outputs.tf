output "key_server_address" {
  description = "Where the key server answers from here. Enclaves in the VPC use the private address, with the same port."
  value       = cc_key_server.attestation.address
}

output "key_server_private_ip" {
  description = "What attestation_name must lead to on the machine with SGX."
  value       = cc_client_instance.client.private_ip
}

output "ca_certificate_file" {
  description = "What the enclave trusts the key server by (SECRET_PROVISION_CA_CHAIN_PATH); it goes into the enclave's image."
  value       = cc_tls_materials.attestation.ca_certificate_file
}

output "uploaded" {
  description = "SHA-256 of the files on the machine with SGX."
  value       = cc_artifact_upload.serving.uploaded
}
