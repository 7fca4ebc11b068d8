variable "sigstruct" {
  description = "Path of the enclave's .sig file."
  type        = string
}

output "mr_enclave" {
  value = provider::cc::mrenclave(filebase64(var.sigstruct))
}
