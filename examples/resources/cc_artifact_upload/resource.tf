variable "serving_machine" {
  description = "Address of the machine with SGX."
  type        = string
}

variable "serving_host_keys" {
  description = "Its SSH host keys: the content of /etc/ssh/ssh_host_ed25519_key.pub there."
  type        = list(string)
}

resource "cc_wrap_key" "model" {
  file = "${path.module}/keys/wrap-key"
}

resource "cc_encrypted_file" "model" {
  source        = "${path.module}/saved_model.pb"
  destination   = "${path.module}/upload/models/resnet50/1/saved_model.pb"
  enclave_path  = "models/resnet50/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.model.file
}

# Everything in upload/ is encrypted; the CA certificate is meant to be read.
resource "cc_artifact_upload" "serving" {
  host = {
    ssh = {
      address   = var.serving_machine
      host_keys = var.serving_host_keys
    }
  }
  directory = "/srv/serving"
  source    = "${path.module}/upload"
  plaintext = ["ca.crt"]

  # What the same apply encrypts again is sent in the same apply.
  triggers = {
    model = cc_encrypted_file.model.header_sha256
  }
}
