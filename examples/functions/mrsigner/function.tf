variable "sigstruct" {
  description = "Path of the enclave's .sig file."
  type        = string
}

variable "signer_key" {
  description = "Path of the signer's public key: openssl rsa -in enclave-key.pem -pubout"
  type        = string
}

output "enclave_is_ours" {
  value = provider::cc::mrsigner(filebase64(var.sigstruct)) == provider::cc::mrsigner(file(var.signer_key))
}
