
terraform {
  required_providers {
    cc = { source = "ccctl/cc" }
  }
}

resource "cc_wrap_key" "key" {
  file = "keys/wrap-key"
}

resource "cc_tls_materials" "serving" {
  directory                = "tls"
  server_names             = ["grpc.example.com"]
  client_name              = "client.example.com"
  validity_period_hours    = 175200
  ca_validity_period_hours = 175200
}

resource "cc_saved_model" "model" {
  source     = "source/graph.pb"
  export_dir = "models/small"
  inputs     = ["input"]
  outputs    = ["output"]
}

resource "cc_encrypted_file" "model" {
  source        = cc_saved_model.model.saved_model_file
  destination   = "upload/saved_model.pb"
  enclave_path  = "models/small/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.key.file
}

resource "cc_artifact_upload" "serving" {
  host      = { local = {} }
  directory = "${path.cwd}/serving"
  source    = "upload"
  triggers  = { model = cc_encrypted_file.model.header_sha256 }
}
