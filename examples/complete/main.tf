# The whole tutorial on Alibaba Cloud: a client machine with the key server on
# it, and encrypted files on the machine with SGX. README.md says what is billed.

terraform {
  required_version = ">= 1.11"
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}

# The account's keys come from the environment (ALICLOUD_ACCESS_KEY,
# ALICLOUD_SECRET_KEY) or a profile, never from a file in version control.
provider "cc" {
  region = var.region
}

locals {
  model_path = "models/${var.model_name}/1/saved_model.pb"
}

# The client machine.

resource "cc_security_group" "client" {
  vpc_id           = var.vpc_id
  name             = "cc-client"
  key_server_cidrs = concat(var.enclave_cidrs, var.operator_cidrs) # Terraform looks whether it answers
  ssh_cidrs        = var.operator_cidrs
}

resource "cc_client_instance" "client" {
  vswitch_id         = var.vswitch_id
  security_group_ids = [cc_security_group.client.id]
  key_name           = var.key_name
}

# Keys, certificates and the model, on the machine that runs Terraform.

# The key that protects the model. Data depends on it, so by default it
# outlives the resource.
resource "cc_wrap_key" "model" {
  file       = "${var.directory}/keys/wrap-key"
  on_destroy = var.on_destroy
}

resource "cc_saved_model" "model" {
  source        = var.graph
  export_dir    = "${var.directory}/plaintext/models/${var.model_name}"
  model_version = 1
  inputs        = var.inputs
  outputs       = var.outputs
}

# What TensorFlow Serving and its clients need.
resource "cc_tls_materials" "serving" {
  directory    = "${var.directory}/plaintext/ssl_configure"
  server_names = [var.serving_name]
  client_name  = var.client_name
  on_destroy   = var.on_destroy
}

# The key server's own certificate. Enclaves find the server by this name, and
# trust it by the CA of this directory, which goes into the enclave's image.
resource "cc_tls_materials" "attestation" {
  directory    = "${var.directory}/attestation"
  server_names = [var.attestation_name]
  on_destroy   = var.on_destroy
}

resource "cc_encrypted_file" "model" {
  source        = cc_saved_model.model.saved_model_file
  destination   = "${var.directory}/upload/${local.model_path}"
  enclave_path  = local.model_path
  wrap_key_file = cc_wrap_key.model.file
}

resource "cc_encrypted_file" "ssl_config" {
  source        = cc_tls_materials.serving.ssl_config_file
  destination   = "${var.directory}/upload/ssl.cfg"
  enclave_path  = "ssl.cfg"
  wrap_key_file = cc_wrap_key.model.file
}

# The machine with SGX gets what is encrypted, and nothing else.

resource "cc_artifact_upload" "serving" {
  host = {
    ssh = {
      address          = var.serving_machine
      user             = var.serving_user
      host_keys        = var.serving_host_keys
      private_key_file = var.ssh_private_key_file
      sudo             = var.serving_user != "root"
    }
  }
  directory = var.serving_directory
  source    = "${var.directory}/upload"

  # What this apply encrypts again is sent by this apply.
  triggers = {
    model      = cc_encrypted_file.model.header_sha256
    ssl_config = cc_encrypted_file.ssl_config.header_sha256
  }
}

# The key server, on the client machine. Its host key was read through Cloud
# Assistant, so that the first connection need not trust whatever answers.

resource "cc_key_server" "attestation" {
  host = {
    ssh = {
      address          = "${cc_client_instance.client.public_ip}:${var.ssh_port}"
      host_keys        = cc_client_instance.client.ssh_host_keys
      private_key_file = var.ssh_private_key_file
    }
  }
  runtime    = "docker"
  directory  = var.key_server_directory
  ccctl_path = var.ccctl_path
  listen     = var.listen

  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }

  collateral = {
    region  = var.collateral_bundle == null ? var.region : null
    network = var.collateral_bundle == null ? "vpc" : null
    bundle  = var.collateral_bundle
  }
  allow_trusted_root = var.simulated_root

  secrets = [{
    name = "model"
    file = cc_wrap_key.model.file
  }]

  rules = [{
    name       = "tf-serving on gramine"
    mr_enclave = [var.mr_enclave]
    mr_signer  = [var.mr_signer]
    tcb = {
      accept            = var.tcb_accept
      accept_advisories = var.tcb_advisories
    }
    secret = "model"
  }]

  # A certificate that this apply renews is served at the end of it.
  reload_triggers = {
    certificate = cc_tls_materials.attestation.server_certificate_pem
  }
}

# Every plan says if the server is down, or its certificate about to expire.
check "key_server" {
  data "cc_key_server_status" "attestation" {
    host = cc_key_server.attestation.host
  }

  assert {
    condition     = data.cc_key_server_status.attestation.state == "ready"
    error_message = "The key server is ${data.cc_key_server_status.attestation.state}: ${coalesce(data.cc_key_server_status.attestation.reason, "no reason is given")}."
  }

  assert {
    condition     = coalesce(data.cc_key_server_status.attestation.certificate_expires_in, 0) > 30 * 24 * 3600
    error_message = "The key server's certificate has less than 30 days left."
  }
}
