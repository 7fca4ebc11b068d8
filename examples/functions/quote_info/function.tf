variable "quote" {
  description = "Path of a quote."
  type        = string
}

# What to ask a collateral service for: ccctl collateral fetch --fmspc ... --ca ...
output "fmspc" {
  value = provider::cc::quote_info(filebase64(var.quote)).fmspc
}
