resource "cc_wrap_key" "model" {
  file = "keys/resnet50.key"
}

# The mount of the manifest is { type = "encrypted", uri = "file:models", ... },
# so Gramine opens the file as models/resnet50/1/saved_model.pb.
resource "cc_encrypted_file" "model" {
  source        = "build/resnet50/1/saved_model.pb"
  destination   = "upload/models/resnet50/1/saved_model.pb"
  enclave_path  = "models/resnet50/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.model.file
}

# Every file below a directory.
resource "cc_encrypted_file" "variables" {
  for_each = fileset("build/resnet50/1/variables", "**")

  source        = "build/resnet50/1/variables/${each.value}"
  destination   = "upload/models/resnet50/1/variables/${each.value}"
  enclave_path  = "models/resnet50/1/variables/${each.value}"
  wrap_key_file = cc_wrap_key.model.file
}
