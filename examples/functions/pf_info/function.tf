variable "encrypted_file" {
  description = "Path of a protected file."
  type        = string
}

# Every Gramine opens format 1, only 1.9 and later format 2.
output "needs_gramine_1_9" {
  value = provider::cc::pf_info(filebase64(var.encrypted_file)).format == 2
}
