# The key server on a machine that the owner of the data controls, with the
# enclave anywhere: README.md says why one would want that.

terraform {
  required_version = ">= 1.11"
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}

provider "cc" {}

resource "cc_wrap_key" "model" {
  file = "${path.module}/keys/wrap-key"
}

# Enclaves find the key server by this name, and trust it by the CA of this
# directory, which goes into the enclave's image.
resource "cc_tls_materials" "attestation" {
  directory    = "${path.module}/attestation"
  server_names = [var.server_name]
}

resource "cc_encrypted_file" "model" {
  source        = var.model
  destination   = "${path.module}/upload/${var.enclave_path}"
  enclave_path  = var.enclave_path
  wrap_key_file = cc_wrap_key.model.file
}

# The machine of the enclave is not trusted: it gets what is encrypted, and a
# plan refuses anything else.
resource "cc_artifact_upload" "serving" {
  host = {
    ssh = {
      address          = var.serving_machine
      user             = var.serving_user
      host_keys        = var.serving_host_keys
      private_key_file = var.private_key_file
      sudo             = var.serving_user != "root"
    }
  }
  directory = var.serving_directory
  source    = "${path.module}/upload"
  triggers  = { model = cc_encrypted_file.model.header_sha256 }
}

resource "cc_key_server" "attestation" {
  host = {
    ssh = {
      address          = var.machine
      user             = var.user
      host_keys        = var.host_keys
      private_key_file = var.private_key_file
      sudo             = var.user != "root"
    }
  }
  runtime    = "docker"
  directory  = "/var/lib/cc-key-server"
  ccctl_path = var.ccctl_path
  listen     = ":4433"

  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }

  # Alibaba Cloud's collateral service, as it is reached from outside.
  collateral = {
    region  = var.region
    network = "public"
  }

  secrets = [{
    name = "model"
    file = cc_wrap_key.model.file
  }]

  rules = [{
    name        = "tf-serving on gramine"
    mr_enclave  = [var.mr_enclave]
    mr_signer   = [var.mr_signer]
    server_name = [var.server_name]
    # Ice Lake, which Alibaba's vSGX families are, has no better status.
    tcb = {
      accept            = ["UpToDate", "SWHardeningNeeded"]
      accept_advisories = ["INTEL-SA-00615"]
    }
    secret = "model"
  }]
}

# Every plan says if the server is down.
check "key_server" {
  data "cc_key_server_status" "attestation" {
    host = cc_key_server.attestation.host
  }

  assert {
    condition     = data.cc_key_server_status.attestation.state == "ready"
    error_message = "The key server is ${data.cc_key_server_status.attestation.state}: ${coalesce(data.cc_key_server_status.attestation.reason, "no reason is given")}."
  }
}

output "address" {
  description = "What SECRET_PROVISION_SERVERS of the enclave must lead to."
  value       = cc_key_server.attestation.address
}
