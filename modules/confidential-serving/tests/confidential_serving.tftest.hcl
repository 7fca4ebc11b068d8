# vpc_id, vswitch_id and key_name come from the environment (TF_VAR_...), and
# ccctl is on PATH: see tests of modules client and key-server.

variables {
  directory = "other"
  model     = { name = "digits", graph = "../../examples/quickstart/model/digits.pb" }
  enclave = {
    mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
    mr_signer  = ["b11a6f0e5d4c3b2a19080716253443526170f8e9dacbbcad9e8f708192a3b4c5"]
  }
  tcb               = { accept = ["UpToDate", "SWHardeningNeeded"], accept_advisories = ["INTEL-SA-00615"] }
  attestation_names = ["localhost"]
  serving_names     = ["grpc.tf-serving.service.com"]
  client_name       = "client.tf-serving.service.com"
  collateral        = { url = "https://pccs.example.com" }
}

run "composed" {
  module {
    source = "./tests/composed"
  }

  assert {
    condition     = output.serving.key_server_place == "local" && startswith(output.serving.secret_provision_servers, "localhost:")
    error_message = "The key server is at place ${output.serving.key_server_place}, ${output.serving.secret_provision_servers}."
  }

  assert {
    condition     = toset(keys(output.serving.uploaded)) == toset(["models/digits/1/saved_model.pb", "ssl.cfg"]) && fileexists("run/far/ssl.cfg")
    error_message = "The enclave's machine got ${jsonencode(output.serving.uploaded)}."
  }

  assert {
    condition     = startswith(output.serving.client_machine.instance_id, "i-") && output.serving.client_machine.ssh_address != ""
    error_message = "There is no client machine: ${jsonencode(output.serving.client_machine)}"
  }
}

run "nothing_in_the_cloud_by_default" {
  command = plan

  variables {
    key_server = { host = { local = {} }, runtime = "process", directory = "other/key-server" }
  }

  assert {
    condition     = output.client_machine == null && length(cc_artifact_upload.serving) == 0 && output.uploaded == null
    error_message = "A machine or an upload is planned that nobody asked for."
  }
}

run "key_server_on_the_client_machine" {
  command = plan

  variables {
    client                     = { vpc_id = "vpc-2zeu6dpr1rm3xexample", vswitch_id = "vsw-2ze8vnbpdh0a2example", key_name = "ops" }
    operator_cidrs             = ["203.0.113.17/32"]
    enclave_cidrs              = ["10.0.1.0/24"]
    allow_key_server_on_client = true
  }

  assert {
    condition     = output.key_server_place == "client"
    error_message = "The key server is planned at place ${output.key_server_place}."
  }
}

run "measurements_of_the_signers_file" {
  command = plan

  variables {
    enclave    = { sigstruct_file = "../../internal/sgxcrypto/sigstruct/testdata/v19_release.sig" }
    key_server = { host = { local = {} }, runtime = "process", directory = "other/key-server" }
  }

  assert {
    condition     = length(local.mr_enclave) == 1 && can(regex("^[0-9a-f]{64}$", local.mr_enclave[0])) && length(local.mr_signer) == 1
    error_message = "The rule is for ${jsonencode(local.mr_enclave)}."
  }
}

run "a_debug_enclave_is_refused" {
  command = plan

  variables {
    enclave    = { sigstruct_file = "../../internal/sgxcrypto/sigstruct/testdata/v19_debug.sig" }
    key_server = { host = { local = {} }, runtime = "process", directory = "other/key-server" }
  }

  expect_failures = [data.cc_sigstruct.enclave]
}
