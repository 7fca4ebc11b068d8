# One configuration and one version of the modules for every environment. What
# differs is in dev.tfvars, staging.tfvars and prod.tfvars, and nowhere else.

terraform {
  required_version = ">= 1.11"
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}

# The account's keys come from the environment or a profile.
provider "cc" {
  region = var.region
}

module "serving" {
  # In a repository of yours, by version:
  # "git::https://github.com/ccctl/terraform-provider-cc//modules/confidential-serving?ref=v0.1.0".
  source = "../../modules/confidential-serving"

  directory = "${var.directory}/${var.environment}"

  model             = var.model
  enclave           = var.enclave
  tcb               = var.tcb
  serving_names     = ["grpc.${var.environment}.example.com"]
  client_name       = "client.${var.environment}.example.com"
  attestation_names = var.attestation_names

  client = merge(var.client, {
    # Of the official provider's resources, where both providers are in one
    # configuration: vpc_id = alicloud_vpc.serving.id, and so on.
    vpc_id     = var.network.vpc_id
    vswitch_id = var.network.vswitch_id
    key_name   = var.network.key_name
    name       = "cc-client-${var.environment}"
    tags       = { project = "confidential-serving", environment = var.environment }
  })
  operator_cidrs = var.operator_cidrs
  enclave_cidrs  = var.enclave_cidrs

  key_server                 = var.key_server
  allow_key_server_on_client = var.allow_key_server_on_client
  allow_trusted_root         = var.allow_trusted_root
  collateral                 = var.collateral

  serving_host      = var.serving_host
  serving_directory = var.serving_directory

  on_destroy = var.on_destroy
}

# Every plan says if the server is down, or its certificate about to expire.
check "key_server" {
  data "cc_key_server_status" "attestation" {
    host           = module.serving.key_server_status_arguments.host
    container_name = module.serving.key_server_status_arguments.container_name
  }

  assert {
    condition     = data.cc_key_server_status.attestation.state == "ready"
    error_message = "The key server is ${data.cc_key_server_status.attestation.state}: ${coalesce(data.cc_key_server_status.attestation.reason, "no reason is given")}."
  }

  assert {
    condition     = coalesce(data.cc_key_server_status.attestation.certificate_expires_in, 0) > 7 * 24 * 3600
    error_message = "The key server's certificate has less than 7 days left."
  }
}
