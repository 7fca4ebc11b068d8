# The tutorial's model: one input, one output, version 1. Batch normalisations are
# folded into the convolutions; what is left is in the attribute optimization.
resource "cc_saved_model" "resnet50" {
  source     = "resnet50_fp32_pretrained_model.pb"
  export_dir = "plaintext/models/resnet50-v15-fp32"
  inputs     = ["input"]
  outputs    = ["predict"]
  optimize   = true
}

# Several outputs, one of an operation whose dtype does not follow from the
# graph. The source is pinned, and the digest keyed by the wrap key, so that
# everybody who shares the state and the key sees the same.
resource "cc_saved_model" "detector" {
  source          = "detector.pb"
  source_sha256   = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  export_dir      = "plaintext/models/detector"
  model_version   = 3
  inputs          = ["image=image_tensor"]
  outputs         = ["boxes=postprocess:0", "scores=postprocess:1@float32[-1,100]"]
  digest_key_file = cc_wrap_key.model.file
}

resource "cc_wrap_key" "model" {
  file = "keys/wrap-key"
}

# What the enclave gets.
resource "cc_encrypted_file" "resnet50" {
  source        = cc_saved_model.resnet50.saved_model_file
  destination   = "upload/models/resnet50-v15-fp32/1/saved_model.pb"
  enclave_path  = "models/resnet50-v15-fp32/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.model.file
}

# A SavedModel with variables and assets is published as it is, and every file of
# it is encrypted.
resource "cc_saved_model" "translator" {
  source        = "exports/translator/1700000000"
  export_dir    = "plaintext/models/translator"
  model_version = 1
}

resource "cc_encrypted_file" "translator" {
  for_each      = cc_saved_model.translator.files
  source        = each.value
  destination   = "upload/models/translator/1/${each.key}"
  enclave_path  = "models/translator/1/${each.key}"
  wrap_key_file = cc_wrap_key.model.file
}
