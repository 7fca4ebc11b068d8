output "environment" {
  description = "Which environment this state is of."
  value       = var.environment

  # A workspace each keeps one environment's file away from another one's state.
  precondition {
    condition     = contains(["default", var.environment], terraform.workspace)
    error_message = "This is ${var.environment}.tfvars in the workspace ${terraform.workspace}: run terraform workspace select ${var.environment} first."
  }
}

output "key_server_place" {
  description = "Who can read the keys: `client` (whoever controls the cloud account too), or `ssh` (whoever controls that machine)."
  value       = module.serving.key_server_place
}

output "secret_provision_servers" {
  description = "`SECRET_PROVISION_SERVERS` of the enclave's manifest."
  value       = module.serving.secret_provision_servers
}

output "attestation_ca_certificate_file" {
  description = "What goes into the enclave's image as `SECRET_PROVISION_CA_CHAIN_PATH`."
  value       = module.serving.attestation_ca_certificate_file
}

output "uploaded" {
  description = "SHA-256 of the files on the machine with SGX."
  value       = module.serving.uploaded
}

output "client_machine" {
  description = "The client machine."
  value       = module.serving.client_machine
}
