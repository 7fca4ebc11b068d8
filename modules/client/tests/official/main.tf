# Ids of the official provider's resources are known after its apply only.
# terraform_data has the same manners: its output stands for
# alicloud_vpc.serving.id and the like.

variable "vpc_id" { type = string }
variable "vswitch_id" { type = string }
variable "key_name" { type = string }

resource "terraform_data" "network" {
  input = {
    vpc_id     = var.vpc_id
    vswitch_id = var.vswitch_id
    key_name   = var.key_name
  }
}

resource "cc_security_group" "office" {
  vpc_id = terraform_data.network.output.vpc_id
  name   = "office"
}

module "client" {
  source = "../.."

  name               = "cc-module-test"
  vpc_id             = terraform_data.network.output.vpc_id
  vswitch_id         = terraform_data.network.output.vswitch_id
  key_name           = terraform_data.network.output.key_name
  security_group_ids = [cc_security_group.office.id]
  ssh_cidrs          = ["203.0.113.17/32"]
  key_server_cidrs   = ["10.0.1.0/24"]
  ingress_rules      = [{ port_range = "8500/8501", source = "10.0.1.0/24", description = "TensorFlow Serving" }]
  tags               = { project = "test" }
}

output "client" {
  value = module.client
}

terraform {
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}
