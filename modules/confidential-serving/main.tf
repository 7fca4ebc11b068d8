# The tutorial, composed: a client machine if one is wanted, a model and ssl.cfg
# encrypted for the enclave, the key server where the owner of the data says,
# and the encrypted files on the enclave's machine.

locals {
  on_client       = var.key_server.host == null
  key_server_port = tonumber(regex("[0-9]+$", var.key_server.listen))

  # What the signer's file says, or what was written down.
  measured    = var.enclave.sigstruct_file != null
  mr_enclave  = local.measured ? data.cc_sigstruct.enclave[*].mr_enclave : var.enclave.mr_enclave
  mr_signer   = local.measured ? data.cc_sigstruct.enclave[*].mr_signer : var.enclave.mr_signer
  isv_prod_id = local.measured ? null : var.enclave.isv_prod_id
  min_isv_svn = local.measured ? null : var.enclave.min_isv_svn
}

data "cc_sigstruct" "enclave" {
  count = local.measured ? 1 : 0

  file = var.enclave.sigstruct_file

  lifecycle {
    postcondition {
      condition     = !self.allows_debug
      error_message = "The signature ${self.file} lets the enclave run with a debugger, which could read the wrap key out of it: sign it with sgx.debug = false."
    }
  }
}

module "client" {
  source = "../client"
  count  = var.client == null ? 0 : 1

  name                       = var.client.name
  vpc_id                     = var.client.vpc_id
  vswitch_id                 = var.client.vswitch_id
  create_security_group      = var.client.create_security_group
  security_group_ids         = var.client.security_group_ids
  key_name                   = var.client.key_name
  instance_type              = var.client.instance_type
  image_id                   = var.client.image_id
  spot_strategy              = var.client.spot_strategy
  internet_max_bandwidth_out = var.client.internet_max_bandwidth_out
  resource_group_id          = var.client.resource_group_id
  deletion_protection        = var.client.deletion_protection
  tags                       = var.client.tags

  ssh_cidrs       = var.client.create_security_group ? var.operator_cidrs : []
  key_server_port = local.on_client ? local.key_server_port : null
  # Terraform looks whether the key server answers, so operators reach it too.
  key_server_cidrs = var.client.create_security_group && local.on_client ? setunion(var.enclave_cidrs, var.operator_cidrs) : []
}

module "model" {
  source = "../serving-model"

  directory               = var.directory
  graph                   = var.model.graph
  graph_sha256            = var.model.graph_sha256
  inputs                  = var.model.inputs
  outputs                 = var.model.outputs
  optimize                = var.model.optimize
  model_name              = var.model.name
  model_version           = var.model.version
  enclave_models_path     = var.enclave.models_path
  enclave_ssl_config_path = var.enclave.ssl_config_path
  format                  = var.enclave.file_format
  wrap_key_file           = var.wrap_key_file
  create_wrap_key         = var.create_wrap_key
  server_names            = var.serving_names
  client_name             = var.client_name
  on_destroy              = var.on_destroy
  on_missing              = var.on_missing
}

module "key_server" {
  source = "../key-server"

  host = {
    local = local.on_client ? null : var.key_server.host.local
    ssh = local.on_client ? {
      address          = "${one(module.client[*].ssh_address)}:${var.key_server.client_ssh_port}"
      user             = "root"
      host_keys        = one(module.client[*].ssh_host_keys)
      known_hosts      = null
      private_key_file = var.key_server.client_private_key_file
      jump             = null
    } : var.key_server.host.ssh
  }
  ssh_private_key         = var.ssh_private_key
  ssh_private_key_version = var.ssh_private_key_version

  runtime         = var.key_server.runtime
  directory       = var.key_server.directory
  listen          = var.key_server.listen
  container_name  = var.key_server.container_name
  secrets_on_disk = var.key_server.secrets_on_disk
  probe           = var.key_server.probe
  program         = var.key_server.program

  server_names  = var.attestation_names
  tls_directory = "${var.directory}/attestation"

  collateral         = var.collateral
  allow_trusted_root = var.allow_trusted_root

  secrets = { model = { file = module.model.wrap_key_file } }
  rules = [{
    name        = var.model.name
    secret      = "model"
    mr_enclave  = local.mr_enclave
    mr_signer   = local.mr_signer
    isv_prod_id = local.isv_prod_id
    min_isv_svn = local.min_isv_svn
    tcb         = var.tcb
  }]

  on_destroy = var.on_destroy
  on_missing = var.on_missing
}

# The enclave's machine is trusted with nothing: it gets what is encrypted, and
# a plan refuses anything else.
resource "cc_artifact_upload" "serving" {
  count = var.serving_host == null ? 0 : 1

  host = {
    local = var.serving_host.local
    ssh = var.serving_host.ssh == null ? null : {
      address                = var.serving_host.ssh.address
      user                   = var.serving_host.ssh.user
      sudo                   = var.serving_host.ssh.user != "root"
      host_keys              = var.serving_host.ssh.host_keys
      known_hosts            = var.serving_host.ssh.known_hosts
      private_key_file       = var.serving_host.ssh.private_key_file
      jump                   = var.serving_host.ssh.jump
      private_key_wo         = var.ssh_private_key
      private_key_wo_version = var.ssh_private_key_version
    }
  }
  directory = var.serving_directory
  files     = module.model.upload_files

  # What this apply encrypts again is sent by this apply.
  triggers = module.model.upload_triggers
}
