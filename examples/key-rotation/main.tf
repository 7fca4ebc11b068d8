# Moving a model to a new wrap key without an enclave that is refused meanwhile.
#
# The protocol of secret provisioning names no key, so a generation of the key
# is told by the name under which the enclave looks for the server: the manifest
# of generation g2 has SECRET_PROVISION_SERVERS=g2.attestation.example.com:4433,
# and mounts the model of that generation. See README.md for the steps.

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
  for_each = toset(var.generations)

  file = "${var.directory}/keys/${each.key}"
}

# One certificate for every generation's name: a wildcard spares the server a
# new certificate, and with it a restart, at each rotation.
resource "cc_tls_materials" "attestation" {
  directory    = "${var.directory}/attestation"
  server_names = ["*.attestation.example.com"]
}

resource "cc_encrypted_file" "model" {
  for_each = toset(var.generations)

  source        = var.model
  destination   = "${var.directory}/upload/models/${each.key}/1/saved_model.pb"
  enclave_path  = "models/${each.key}/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.model[each.key].file
}

resource "cc_key_server" "attestation" {
  host      = { local = {} }
  runtime   = "process"
  directory = "${var.directory}/key-server"
  listen    = var.listen

  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }

  collateral         = { bundle = var.collateral_bundle }
  allow_trusted_root = var.trusted_root

  # All live generations at once. A rule or secret more is a reload: nobody who
  # asks meanwhile is turned away.
  secrets = [for g in var.generations : { name = g, file = cc_wrap_key.model[g].file }]
  rules = [for g in var.generations : {
    name        = "generation ${g}"
    mr_enclave  = var.mr_enclave
    server_name = ["${g}.attestation.example.com"]
    tcb         = { accept = ["UpToDate", "SWHardeningNeeded"], accept_advisories = ["INTEL-SA-00615"] }
    secret      = g
  }]
}

# What new enclaves are started with, once everything above is in place.
resource "terraform_data" "current" {
  input = var.generations[length(var.generations) - 1]

  provisioner "local-exec" {
    command     = "printf %s \"$GENERATION\" > current.new && mv current.new current"
    working_dir = "${var.directory}/upload"
    environment = { GENERATION = self.input }
  }

  triggers_replace = var.generations[length(var.generations) - 1]
  depends_on       = [cc_key_server.attestation, cc_encrypted_file.model]
}
