# What an enclave serves: a model and ssl.cfg, encrypted under one wrap key for
# the paths at which the enclave opens them. Below var.directory:
#
#   keys/wrap-key        the key, unless it is kept elsewhere
#   plaintext/models/    the SavedModel
#   certificates/        certificates, the authority's and the clients' private
#                        keys, and ssl.cfg.pf, which is encrypted
#   encrypted/           the model, encrypted

locals {
  # Of the three ways to have a key, the number tells an ephemeral one: whether
  # an ephemeral value is null may not decide what is made.
  ephemeral_key = var.wrap_key_version != null
  wrap_key_file = local.ephemeral_key ? null : var.create_wrap_key ? one(cc_wrap_key.model[*].file) : var.wrap_key_file

  enclave_directory = "${var.enclave_models_path}/${var.model_name}/${var.model_version}"
}

resource "cc_wrap_key" "model" {
  count = var.create_wrap_key && !local.ephemeral_key ? 1 : 0

  file       = coalesce(var.wrap_key_file, "${var.directory}/keys/wrap-key")
  on_destroy = var.on_destroy
  on_missing = var.on_missing == "ignore" ? "ignore" : "error"
}

resource "cc_saved_model" "model" {
  source        = var.graph
  source_sha256 = var.graph_sha256
  export_dir    = "${var.directory}/plaintext/models/${var.model_name}"
  model_version = var.model_version
  inputs        = var.inputs
  outputs       = var.outputs
  optimize      = var.optimize
  on_missing    = var.on_missing
  # Machines that share the state recognise each other's models by the key that they share too.
  digest_key_file = var.on_missing == "ignore" ? local.wrap_key_file : null
}

resource "cc_tls_materials" "serving" {
  directory                = "${var.directory}/certificates"
  server_names             = var.server_names
  client_name              = var.client_name
  additional_client_names  = length(var.additional_client_names) > 0 ? var.additional_client_names : null
  key_algorithm            = var.certificates.key_algorithm
  validity_period_hours    = var.certificates.validity_period_hours
  early_renewal_hours      = var.certificates.early_renewal_hours
  ca_validity_period_hours = var.certificates.ca_validity_period_hours
  ca_rotation              = var.certificates.ca_rotation
  on_destroy               = var.on_destroy
  on_missing               = var.on_missing

  # The server's private key is in this file and no other, not even here.
  encrypted_ssl_config = {
    enclave_path        = var.enclave_ssl_config_path
    format              = var.format
    wrap_key_file       = local.wrap_key_file
    wrap_key_wo         = var.wrap_key
    wrap_key_wo_version = var.wrap_key_version
  }
}

resource "cc_encrypted_file" "model" {
  for_each = cc_saved_model.model.files

  source              = each.value
  destination         = "${var.directory}/encrypted/${trimprefix(local.enclave_directory, "/")}/${each.key}"
  enclave_path        = "${local.enclave_directory}/${each.key}"
  wrap_key_file       = local.wrap_key_file
  wrap_key_wo         = var.wrap_key
  wrap_key_wo_version = var.wrap_key_version
  format              = var.format
  on_missing          = var.on_missing
}
