# A key that the team keeps in Vault. VAULT_ADDR and VAULT_TOKEN say which Vault.
ephemeral "cc_wrap_key" "model" {
  vault_kv = {
    mount = "secret"
    path  = "models/resnet50"
  }
  fingerprint = "3f2a61c09d5e7b84" # refuses any other key
}

resource "cc_encrypted_file" "model" {
  source              = "models/resnet50/1/saved_model.pb"
  destination         = "enclave/models/resnet50/1/saved_model.pb"
  enclave_path        = "models/resnet50/1/saved_model.pb"
  wrap_key_wo         = ephemeral.cc_wrap_key.model.hex
  wrap_key_wo_version = 1 # another number with another key
}

# A key that Alibaba Cloud KMS has encrypted into a file beside the configuration:
# ccctl wrap-key seal -w wrap-key --kms-key alias/models --context model=bert -o wrap-key.kms
ephemeral "cc_wrap_key" "bert" {
  alibaba_kms = {
    ciphertext_file    = "${path.module}/wrap-key.kms"
    encryption_context = { model = "bert" }
  }
}
