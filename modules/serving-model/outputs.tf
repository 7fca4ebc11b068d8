output "upload_files" {
  description = "What goes to the enclave's machine, all of it encrypted: the file here, by its path there. It is `files` of `cc_artifact_upload`."
  value = merge(
    { for f in cc_encrypted_file.model : trimprefix(f.enclave_path, "/") => f.destination },
    { (trimprefix(var.enclave_ssl_config_path, "/")) = cc_tls_materials.serving.encrypted_ssl_config_file },
  )
}

output "upload_triggers" {
  description = "Digests of those files' headers, for `triggers` of `cc_artifact_upload`: what one apply encrypts it sends too."
  value = merge(
    { for f in cc_encrypted_file.model : trimprefix(f.enclave_path, "/") => f.header_sha256 },
    { (trimprefix(var.enclave_ssl_config_path, "/")) = cc_tls_materials.serving.encrypted_ssl_config_header_sha256 },
  )
}

output "model_path" {
  description = "Directory of the model's versions as the enclave opens it: TensorFlow Serving's `--model_base_path`."
  value       = "${var.enclave_models_path}/${var.model_name}"
}

output "ssl_config_path" {
  description = "Path of `ssl.cfg` as the enclave opens it: TensorFlow Serving's `--ssl_config_file`."
  value       = var.enclave_ssl_config_path
}

output "wrap_key_file" {
  description = "File of the wrap key, for `secrets` of a key server; null with `wrap_key`, which a key server has to get from where it is kept."
  value       = local.wrap_key_file
}

output "wrap_key_id" {
  description = "Fingerprint of the wrap key, which the key server's log and `ccctl pf inspect` show too."
  value       = cc_tls_materials.serving.encrypted_ssl_config_key_id
}

output "signature" {
  description = "The model's inputs and outputs, by which clients call it."
  value       = cc_saved_model.model.signature
}

output "ca_certificate_file" {
  description = "What clients trust the model's server by."
  value       = cc_tls_materials.serving.ca_certificate_file
}

output "client_certificate_file" {
  description = "Certificate of the client; null with one-way TLS."
  value       = cc_tls_materials.serving.client_certificate_file
}

output "client_key_file" {
  description = "File of the client's private key; null with one-way TLS."
  value       = cc_tls_materials.serving.client_key_file
}

output "certificates_not_after" {
  description = "When the first of the certificates ends (RFC 3339)."
  value       = cc_tls_materials.serving.not_after
}
