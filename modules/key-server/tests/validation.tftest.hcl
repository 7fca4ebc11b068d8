# Each validation fails here, by itself where a variable has several. Terraform
# does not examine a variable whose validations look at one that failed.

variables {
  host          = { local = {} }
  directory     = "run/key-server"
  server_names  = ["attestation.service.com"]
  tls_directory = "run/attestation"
  collateral    = { region = "cn-beijing" }
  secrets       = { model = { file = "run/wrap-key" } }
  rules = [{
    name       = "tf-serving on gramine"
    secret     = "model"
    mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
    tcb        = { accept = ["UpToDate"] }
  }]
}

run "values" {
  command = plan

  variables {
    host                 = {}
    listen               = "4433"
    server_names         = []
    tls_directory        = ""
    certificate_settings = { key_algorithm = "rsa-1024" }
    secrets              = {}
    collateral           = {}
    container_name       = "-"
    restart_policy       = "always"
    admin_listen         = ":9433"
    on_destroy           = "shred"
    on_missing           = "error"
  }

  expect_failures = [
    var.host, var.listen, var.server_names, var.tls_directory, var.certificate_settings, var.secrets, var.collateral, var.container_name, var.restart_policy,
    var.admin_listen, var.on_destroy, var.on_missing,
  ]
}

run "more_values" {
  command = plan

  variables {
    runtime   = "podman"
    directory = ""
    rules     = []

    ssh_private_key_version = 1
  }

  expect_failures = [var.runtime, var.directory, var.rules, var.ssh_private_key_version]
}

run "one_program" {
  command = plan

  variables {
    program = { path = "ccctl", image = "ccctl@sha256:2222222222222222222222222222222222222222222222222222222222222222" }
    host    = { ssh = { address = "203.0.113.7", known_hosts = "known_hosts" } }

    directory               = "/var/lib/cc-key-server"
    ssh_private_key         = "id_ed25519"
    ssh_private_key_version = 1
  }

  expect_failures = [var.program, var.ssh_private_key]
}

run "nothing_trusted_on_first_use" {
  command = plan

  variables {
    host           = { ssh = { address = "203.0.113.7" } }
    server_names   = ["attestation.service.com:4433"]
    certificate    = { certificate = "cert.pem", private_key = "key.pem" }
    secrets        = { model = { file = "run/wrap-key", encoding = "base64" } }
    collateral     = { url = "https://pccs.example.com", network = "vpc" }
    restart_policy = "unless-stopped"

    secrets_on_disk = false
  }

  expect_failures = [var.host, var.server_names, var.tls_directory, var.secrets, var.collateral, var.restart_policy]
}

run "a_relative_directory_elsewhere" {
  command = plan

  variables {
    host    = { ssh = { address = "203.0.113.7", known_hosts = "known_hosts" } }
    runtime = "process"
  }

  expect_failures = [var.runtime, var.directory]
}

run "a_program_of_anybody" {
  command = plan

  variables {
    program         = { url = "https://example.com/ccctl" }
    ssh_private_key = "-----BEGIN OPENSSH PRIVATE KEY-----"
  }

  expect_failures = [var.program, var.ssh_private_key]
}

run "a_tag_can_be_moved" {
  command = plan

  variables {
    program = { image = "ccctl:latest" }
  }

  expect_failures = [var.program]
}

run "a_fingerprint_is_no_key" {
  command = plan

  variables {
    host = { ssh = { address = "203.0.113.7", host_keys = ["SHA256:aGVsbG8"] } }
    rules = [{
      name = "signer", secret = "model", mr_signer = ["b11a6f0e5d4c3b2a19080716253443526170f8e9dacbbcad9e8f708192a3b4c5"], tcb = { accept = ["UpToDate"] }
    }]
  }

  expect_failures = [var.host, var.rules]
}

run "a_user_is_no_part_of_an_address" {
  command = plan

  variables {
    host      = { ssh = { address = "root@203.0.113.7", known_hosts = "known_hosts" } }
    directory = "/var/lib/cc-key-server"
    rules = [{
      name = "tf-serving on gramine", secret = "other", mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"], tcb = { accept = ["UpToDate"] }
    }]
  }

  expect_failures = [var.host, var.rules]
}

run "a_process_fetches_no_program" {
  command = plan

  variables {
    runtime = "process"
    program = { image = "ccctl@sha256:2222222222222222222222222222222222222222222222222222222222222222" }
    rules   = [{ name = "tf-serving on gramine", secret = "model", mr_enclave = ["7de5"], tcb = { accept = ["UpToDate"] } }]
  }

  expect_failures = [var.program, var.rules]
}

run "statuses_are_intels_words" {
  command = plan

  variables {
    rules = [{
      name = "tf-serving on gramine", secret = "model", mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"], tcb = { accept = ["Revoked"] }
    }]
  }

  expect_failures = [var.rules]
}

run "advisories_are_intels_numbers" {
  command = plan

  variables {
    rules = [{
      name = "tf-serving on gramine", secret = "model", mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"],
      tcb  = { accept = ["UpToDate"], accept_advisories = ["SA-00615"] }
    }]
  }

  expect_failures = [var.rules]
}
