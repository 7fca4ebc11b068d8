# Fails if the file is not genuine, or was made for another path.
data "cc_protected_file" "model" {
  file          = "upload/models/resnet50/1/saved_model.pb"
  wrap_key_file = "keys/resnet50.key"
  enclave_path  = "models/resnet50/1/saved_model.pb"
  verify        = "full"
}

output "model_bytes" {
  value = data.cc_protected_file.model.plaintext_size
}
