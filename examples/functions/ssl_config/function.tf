# The private key stays out of the state: it comes as an ephemeral value, and so
# does the result, which only a write-only argument or an ephemeral output takes.
variable "server_key" {
  type      = string
  ephemeral = true
}

variable "certificates" {
  type = object({ server = string, client_ca = string })
}

locals {
  ssl_config = provider::cc::ssl_config(var.server_key, var.certificates.server, var.certificates.client_ca)
}
