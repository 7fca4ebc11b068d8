# From a frozen TensorFlow graph to a key server that releases the wrap key to
# one enclave: every step of the tutorial, on one machine.

terraform {
  required_version = ">= 1.11"
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}

provider "cc" {}

# The key that protects the model. Data depends on it, so by default it
# outlives the resource.
resource "cc_wrap_key" "model" {
  file       = "${var.directory}/keys/wrap-key"
  on_destroy = var.on_destroy
}

# model_graph_to_saved_model.py, without TensorFlow.
resource "cc_saved_model" "digits" {
  source        = "${path.module}/model/digits.pb"
  export_dir    = "${var.directory}/plaintext/models/digits"
  model_version = 1
  inputs        = ["input"]
  outputs       = ["predict"]
}

# generate_twoway_ssl_config.sh: what TensorFlow Serving and its clients need.
resource "cc_tls_materials" "serving" {
  directory    = "${var.directory}/plaintext/ssl_configure"
  server_names = ["grpc.tf-serving.service.com"]
  client_name  = "client.tf-serving.service.com"
  on_destroy   = var.on_destroy
}

# The key server's own certificate. Enclaves find the server by this name.
resource "cc_tls_materials" "attestation" {
  directory    = "${var.directory}/attestation"
  server_names = var.attestation_names
  on_destroy   = var.on_destroy
}

# gramine-sgx-pf-crypt encrypt. The path is the one that the enclave opens,
# as the manifest spells it.
resource "cc_encrypted_file" "model" {
  source        = cc_saved_model.digits.saved_model_file
  destination   = "${var.directory}/upload/models/digits/1/saved_model.pb"
  enclave_path  = "models/digits/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.model.file
}

resource "cc_encrypted_file" "ssl_config" {
  source        = cc_tls_materials.serving.ssl_config_file
  destination   = "${var.directory}/upload/ssl.cfg"
  enclave_path  = "ssl.cfg"
  wrap_key_file = cc_wrap_key.model.file
}

# secret_prov_server_dcap, which here says why it refuses.
resource "cc_key_server" "attestation" {
  host      = { local = {} }
  runtime   = "process"
  directory = "${var.directory}/key-server"
  listen    = var.listen

  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }

  collateral         = { url = var.pccs_url }
  allow_trusted_root = var.simulated_root

  secrets = [{
    name = "digits"
    file = cc_wrap_key.model.file
  }]

  rules = [{
    name       = "tf-serving on gramine"
    mr_enclave = [var.mr_enclave]
    mr_signer  = [var.mr_signer]
    # Ice Lake, which Alibaba's vSGX families are, has no better status.
    tcb    = { accept = ["UpToDate", "SWHardeningNeeded"], accept_advisories = ["INTEL-SA-00615"] }
    secret = "digits"
  }]
}
