output "secret_provision_servers" {
  description = "`SECRET_PROVISION_SERVERS` of the enclave's manifest. The name must lead to the key server on the enclave's machine."
  value       = module.key_server.secret_provision_servers
}

output "attestation_ca_certificate_file" {
  description = "What enclaves trust the key server by (`SECRET_PROVISION_CA_CHAIN_PATH`); it goes into the enclave's image."
  value       = module.key_server.ca_certificate_file
}

output "key_server_address" {
  description = "Where the key server answers from here, `HOST:PORT`."
  value       = module.key_server.address
}

output "key_server_status_arguments" {
  description = "Arguments of `data.cc_key_server_status`, for a `check` of yours: `host`, `container_name` and `directory`."
  value       = module.key_server.status_arguments
}

output "key_server_place" {
  description = "Who can read the keys: `client` (whoever controls the cloud account too), `ssh` or `local` (whoever controls that machine)."
  value       = local.on_client ? "client" : var.key_server.host.ssh != null ? "ssh" : "local"
}

output "model_path" {
  description = "Directory of the model's versions as the enclave opens it: TensorFlow Serving's `--model_base_path`."
  value       = module.model.model_path
}

output "ssl_config_path" {
  description = "Path of `ssl.cfg` as the enclave opens it: TensorFlow Serving's `--ssl_config_file`."
  value       = module.model.ssl_config_path
}

output "upload_files" {
  description = "What the enclave's machine gets, all of it encrypted: the file here, by its path there."
  value       = module.model.upload_files
}

output "uploaded" {
  description = "SHA-256 of the files on the enclave's machine, by name; null without `serving_host`."
  value       = one(cc_artifact_upload.serving[*].uploaded)
}

output "wrap_key_id" {
  description = "Fingerprint of the wrap key, which the key server's log and `ccctl pf inspect` show too."
  value       = module.model.wrap_key_id
}

output "serving_ca_certificate_file" {
  description = "What clients trust TensorFlow Serving by."
  value       = module.model.ca_certificate_file
}

output "client_certificate_file" {
  description = "Certificate of the clients of TensorFlow Serving; null with one-way TLS."
  value       = module.model.client_certificate_file
}

output "client_key_file" {
  description = "File of its private key; null with one-way TLS."
  value       = module.model.client_key_file
}

output "client_machine" {
  description = "The client machine: its id, addresses, groups and SSH host keys; null without `client`."
  value       = one(module.client[*])
}
