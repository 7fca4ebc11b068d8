# The module as a configuration uses it: terraform test applies none whose own
# ephemeral variable is unset (Terraform 1.11).

variable "vpc_id" { type = string }
variable "vswitch_id" { type = string }
variable "key_name" { type = string }

# Ids of the official provider's resources, such as alicloud_vswitch.serving.id,
# are known after its apply only. terraform_data has the same manners.
resource "terraform_data" "network" {
  input = {
    vpc_id     = var.vpc_id
    vswitch_id = var.vswitch_id
    key_name   = var.key_name
  }
}

module "serving" {
  source = "../.."

  directory = "run"
  model     = { name = "digits", graph = "../../examples/quickstart/model/digits.pb" }
  enclave = {
    mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
    mr_signer  = ["b11a6f0e5d4c3b2a19080716253443526170f8e9dacbbcad9e8f708192a3b4c5"]
  }
  tcb               = { accept = ["UpToDate", "SWHardeningNeeded"], accept_advisories = ["INTEL-SA-00615"] }
  attestation_names = ["localhost"]
  serving_names     = ["grpc.tf-serving.service.com"]
  client_name       = "client.tf-serving.service.com"
  collateral        = { url = "https://127.0.0.1:9" } # asked when an enclave comes, which none does
  key_server        = { host = { local = {} }, runtime = "process", directory = "run/key-server", listen = "127.0.0.1:0" }
  client = {
    vpc_id     = terraform_data.network.output.vpc_id
    vswitch_id = terraform_data.network.output.vswitch_id
    key_name   = terraform_data.network.output.key_name
  }
  operator_cidrs    = ["203.0.113.17/32"]
  serving_host      = { local = {} }
  serving_directory = abspath("run/far")
  on_destroy        = "delete"
}

output "serving" {
  value = module.serving
}
