# The module as a configuration uses it: terraform test applies none whose own
# ephemeral variable is unset (Terraform 1.11).

resource "cc_wrap_key" "model" {
  file       = "run/wrap-key"
  on_destroy = "delete"
}

module "key_server" {
  source = "../.."

  host          = { local = {} }
  runtime       = "process"
  directory     = "run/key-server"
  listen        = "127.0.0.1:0"
  server_names  = ["localhost"]
  tls_directory = "run/attestation"
  collateral    = { url = "https://127.0.0.1:9" } # asked when an enclave comes, which none does
  secrets       = { model = { file = cc_wrap_key.model.file } }
  on_destroy    = "delete"
  rules = [{
    name       = "tf-serving on gramine"
    secret     = "model"
    mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
    tcb        = { accept = ["UpToDate", "SWHardeningNeeded"], accept_advisories = ["INTEL-SA-00615"] }
  }]
}

data "cc_key_server_status" "attestation" {
  host           = module.key_server.status_arguments.host
  container_name = module.key_server.status_arguments.container_name
  directory      = module.key_server.status_arguments.directory
  depends_on     = [module.key_server]
}

output "status" {
  value = data.cc_key_server_status.attestation.state
}

output "key_server" {
  value = module.key_server
}

terraform {
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}
