# The module as a configuration uses it: terraform test applies none whose own
# ephemeral variable is unset (Terraform 1.11).

module "model" {
  source = "../.."

  directory    = "run"
  graph        = "../../examples/quickstart/model/digits.pb"
  model_name   = "digits"
  server_names = ["grpc.tf-serving.service.com"]
  client_name  = "client.tf-serving.service.com"
  on_destroy   = "delete"
}

# What is in a file, as the functions and data sources of the provider see it.
data "cc_protected_file" "model" {
  file          = module.model.upload_files["models/digits/1/saved_model.pb"]
  wrap_key_file = module.model.wrap_key_file
  enclave_path  = "models/digits/1/saved_model.pb"
  verify        = "full"
  depends_on    = [module.model]
}

output "model" {
  value = module.model
}

data "cc_protected_file" "ssl_config" {
  file          = module.model.upload_files["ssl.cfg"]
  wrap_key_file = module.model.wrap_key_file
  enclave_path  = "ssl.cfg"
  verify        = "full"
  depends_on    = [module.model]
}

output "opened_ssl_config" {
  value = data.cc_protected_file.ssl_config
}

output "opened" {
  value = data.cc_protected_file.model
}

terraform {
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}
