# What TensorFlow Serving and its client need, in the layout of ssl_configure.
resource "cc_tls_materials" "serving" {
  directory    = "${path.module}/plaintext/ssl_configure"
  server_names = ["grpc.tf-serving.service.com"]
  client_name  = "client.tf-serving.service.com"
}

# ssl.cfg contains the server's private key: only its encrypted form goes to
# the enclave's host. It is encrypted again when a certificate is renewed.
resource "cc_encrypted_file" "ssl_config" {
  source        = cc_tls_materials.serving.ssl_config_file
  destination   = "${path.module}/upload/ssl.cfg"
  enclave_path  = "ssl.cfg"
  wrap_key_file = cc_wrap_key.model.file
}

resource "cc_wrap_key" "model" {
  file = "${path.module}/keys/wrap-key"
}

# A key server's own certificate: no client, no ssl.cfg.
resource "cc_tls_materials" "attestation" {
  directory             = "${path.module}/attestation"
  server_names          = ["attestation.service.com", "192.0.2.10"]
  validity_period_hours = 2160
}

# The server's private key in no file in clear: ssl.cfg is made in its encrypted
# form and goes to the enclave's host as it is.
resource "cc_tls_materials" "sealed" {
  directory    = "${path.module}/sealed"
  server_names = ["grpc.tf-serving.service.com"]
  client_name  = "client.tf-serving.service.com"
  encrypted_ssl_config = {
    enclave_path  = "ssl.cfg"
    wrap_key_file = cc_wrap_key.model.file
  }
}
