# Each validation fails here, by itself where a variable has several. Terraform
# does not examine a variable whose validations look at one that failed.

variables {
  directory = "run"
  model     = { name = "digits", graph = "../../examples/quickstart/model/digits.pb" }
  enclave = {
    mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
  }
  tcb               = { accept = ["UpToDate"] }
  attestation_names = ["attestation.service.com"]
  serving_names     = ["grpc.tf-serving.service.com"]
  collateral        = { region = "cn-beijing" }
  key_server        = { host = { local = {} } }
}

run "values" {
  command = plan

  variables {
    directory         = "run/"
    model             = { name = "a/b", graph = "digits.pb" }
    enclave           = { mr_enclave = ["7de5"] }
    tcb               = { accept = [] }
    attestation_names = []
    collateral        = {}
    operator_cidrs    = ["0.0.0.0/0"]
    enclave_cidrs     = ["10.0.1.1/24"]
    serving_host      = {}
    serving_directory = "srv"
    ssh_private_key   = "key"
    serving_names     = []
    on_destroy        = "shred"
    on_missing        = "error"
    create_wrap_key   = false
  }

  expect_failures = [
    var.directory, var.model, var.enclave, var.tcb, var.attestation_names, var.collateral, var.operator_cidrs, var.enclave_cidrs, var.serving_host,
    var.serving_directory, var.ssh_private_key, var.serving_names, var.on_destroy, var.on_missing, var.create_wrap_key,
  ]
}

run "the_client_machine_is_not_trusted_by_default" {
  command = plan

  variables {
    client         = { vpc_id = "vpc-2zeu6dpr1rm3xexample", vswitch_id = "vsw-2ze8vnbpdh0a2example", key_name = "ops" }
    operator_cidrs = ["203.0.113.17/32"]
    key_server     = {}
  }

  expect_failures = [var.key_server]
}

run "no_machine_for_the_key_server" {
  command = plan

  variables {
    key_server                 = {}
    allow_key_server_on_client = true
    operator_cidrs             = ["203.0.113.17/32"]
  }

  expect_failures = [var.key_server]
}

run "nobody_can_log_in" {
  command = plan

  variables {
    client                     = { vpc_id = "vpc-2zeu6dpr1rm3xexample", vswitch_id = "vsw-2ze8vnbpdh0a2example" }
    key_server                 = {}
    allow_key_server_on_client = true
  }

  expect_failures = [var.key_server]
}

run "nobody_reaches_the_client_machine" {
  command = plan

  variables {
    client                     = { vpc_id = "vpc-2zeu6dpr1rm3xexample", vswitch_id = "vsw-2ze8vnbpdh0a2example", key_name = "ops" }
    key_server                 = {}
    allow_key_server_on_client = true
  }

  expect_failures = [var.operator_cidrs]
}

run "no_port" {
  command = plan

  variables {
    key_server = { host = { local = {} }, listen = "attestation.service.com" }
  }

  expect_failures = [var.key_server]
}

run "nothing_to_allow" {
  command = plan

  variables {
    allow_key_server_on_client = true
    enclave                    = {}
    serving_host               = { ssh = { address = "203.0.113.7" } }
  }

  expect_failures = [var.key_server, var.enclave, var.serving_host]
}

run "a_network_that_the_host_is_not_in" {
  command = plan

  variables {
    collateral = { region = "cn-beijing", network = "vpc" }
  }

  expect_failures = [var.collateral]
}
