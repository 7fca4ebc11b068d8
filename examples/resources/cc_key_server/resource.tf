variable "mr_enclave" {
  description = "MRENCLAVE of the serving enclave (ccctl sigstruct inspect prints it)."
  type        = string
}

resource "cc_wrap_key" "resnet" {
  file = "${path.module}/keys/resnet.key"
}

resource "cc_tls_materials" "attestation" {
  directory    = "${path.module}/attestation"
  server_names = ["attestation.example.com"]
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

  # Alibaba Cloud's collateral service of the region.
  collateral = {
    region    = "cn-beijing"
    network   = "vpc"
    cache_dir = "${path.module}/collateral"
  }

  secrets = [{
    name = "resnet50"
    file = cc_wrap_key.resnet.file
  }]

  rules = [{
    name        = "tf-serving on gramine"
    mr_enclave  = [var.mr_enclave]
    server_name = ["attestation.example.com"]
    # Ice Lake, which Alibaba Cloud's vSGX families are, has no better status.
    tcb = {
      accept            = ["UpToDate", "SWHardeningNeeded"]
      accept_advisories = ["INTEL-SA-00615"]
    }
    secret = "resnet50"
  }]

  admin = { listen = "127.0.0.1:9433" }

  # A certificate that this apply renews is served at the end of it.
  reload_triggers = {
    certificate = cc_tls_materials.attestation.server_certificate_pem
  }
}
