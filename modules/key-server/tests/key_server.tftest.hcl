# ccctl is on PATH.

variables {
  host          = { local = {} }
  runtime       = "process"
  directory     = "other/key-server"
  server_names  = ["localhost"]
  tls_directory = "other/attestation"
  collateral    = { region = "cn-beijing" }
  secrets       = { model = { file = "run/wrap-key" } }
  rules = [{
    name       = "tf-serving on gramine"
    secret     = "model"
    mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
    tcb        = { accept = ["UpToDate", "SWHardeningNeeded"], accept_advisories = ["INTEL-SA-00615"] }
  }]
}

run "process" {
  module {
    source = "./tests/composed"
  }

  assert {
    condition     = startswith(output.key_server.address, "127.0.0.1:") && !endswith(output.key_server.address, ":0")
    error_message = "The server is at ${output.key_server.address}."
  }

  assert {
    condition     = output.key_server.secret_provision_servers == replace(output.key_server.address, "127.0.0.1", "localhost")
    error_message = "Enclaves are sent to ${output.key_server.secret_provision_servers}, and the server is at ${output.key_server.address}."
  }

  assert {
    condition     = output.key_server.ca_certificate_file == "run/attestation/ca_cert.pem" && output.key_server.ca_certificate_pem == file("run/attestation/ca_cert.pem")
    error_message = "Enclaves have nothing to trust the server by."
  }

  assert {
    condition     = length(output.key_server.config_sha256) == 64 && fileexists(output.key_server.log_file)
    error_message = "A process has no configuration, or writes no log."
  }

  assert {
    condition     = output.key_server.status_arguments.directory == "run/key-server" && output.key_server.status_arguments.container_name == null
    error_message = "A check would look for the server elsewhere: ${jsonencode(output.key_server.status_arguments)}."
  }

  assert {
    condition     = output.status == "running"
    error_message = "data.cc_key_server_status finds it ${output.status}."
  }
}

run "own_machine" {
  command = plan

  variables {
    host = {
      ssh = {
        address   = "127.0.0.1:1"
        user      = "ops"
        host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFXvORlmqUjljhB9c2vjHG9/WUkymQtpua6NJPnscOyq"]
        jump      = { address = "127.0.0.1:2", known_hosts = "known_hosts" }
      }
    }
    runtime                 = "docker"
    directory               = "/var/lib/cc-key-server"
    secrets_on_disk         = false
    ssh_private_key         = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot read by a plan\n-----END OPENSSH PRIVATE KEY-----\n"
    ssh_private_key_version = 1
  }

  assert {
    condition     = cc_key_server.attestation.restart_policy == "no" && cc_key_server.attestation.host.ssh.sudo
    error_message = "A server without keys on disk would be started again without them, or its user does not become root."
  }

  assert {
    condition     = cc_key_server.attestation.host.ssh.jump.address == "127.0.0.1:2" && cc_key_server.attestation.container_name == "cc-key-server"
    error_message = "The server is reached in another way: ${jsonencode(cc_key_server.attestation.host)}."
  }

  assert {
    condition     = cc_key_server.attestation.host.ssh.private_key_wo == null && cc_key_server.attestation.host.ssh.private_key_wo_version == 1
    error_message = "The private key is in the plan."
  }
}

run "certificate_that_exists" {
  command = plan

  variables {
    tls_directory = null
    certificate   = { certificate = "run/attestation/server/cert.pem", private_key = "run/attestation/server/key.pem" }
  }

  assert {
    condition     = length(cc_tls_materials.attestation) == 0 && output.ca_certificate_file == null
    error_message = "A certificate is made beside the one that exists."
  }
}
