variable "mr_enclave" {
  description = "MRENCLAVE of the serving enclaves (ccctl sigstruct inspect prints it)."
  type        = string
}

resource "cc_tls_materials" "attestation" {
  directory    = "${path.module}/attestation"
  server_names = ["resnet50.example.com", "bert.example.com"]
}

resource "cc_key_server" "attestation" {
  host      = { local = {} }
  runtime   = "process"
  directory = "${path.module}/key-server"
  listen    = ":4433"

  tls = {
    certificate = cc_tls_materials.attestation.server_certificate_file
    private_key = cc_tls_materials.attestation.server_key_file
  }
  collateral = { region = "cn-beijing", network = "vpc" }

  # The token is what an agent of Vault keeps renewed; the server reads it each time.
  vault = {
    address    = "https://vault.example.com:8200"
    token_file = "/run/vault-agent/token"
  }
  # The server asks KMS as the RAM role of the instance that it runs on.
  alibaba_cloud = {
    region        = "cn-beijing"
    network       = "vpc"
    ecs_role_name = "key-server"
  }

  secrets = [
    {
      name     = "resnet50"
      vault_kv = { mount = "secret", path = "models/resnet50" }
      refresh  = "1m"
    },
    {
      # ccctl wrap-key seal -w wrap-key --kms-key alias/models --context model=bert -o bert.kms
      name = "bert"
      alibaba_kms = {
        ciphertext_file    = "${path.module}/bert.kms"
        encryption_context = { model = "bert" }
      }
    },
  ]

  rules = [for model in ["resnet50", "bert"] : {
    name        = model
    mr_enclave  = [var.mr_enclave]
    server_name = ["${model}.example.com"]
    tcb = {
      accept            = ["UpToDate", "SWHardeningNeeded"]
      accept_advisories = ["INTEL-SA-00615"]
    }
    secret = model
  }]
}
