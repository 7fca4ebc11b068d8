# As prod, with less at stake: the keys are on the same kind of ground.

environment    = "staging"
region         = "cn-beijing"
operator_cidrs = ["203.0.113.17/32"]
enclave_cidrs  = ["172.16.1.0/24"]

network = {
  vpc_id     = "vpc-2zeu6dpr1rm3xexample"
  vswitch_id = "vsw-2zem1cbuyk2fcexample"
  key_name   = "staging"
}

client = {
  spot_strategy = "NoSpot"
}

model = {
  name  = "digits"
  graph = "../quickstart/model/digits.pb"
}

enclave = {
  mr_enclave = ["7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"]
  mr_signer  = ["b11a6f0e5d4c3b2a19080716253443526170f8e9dacbbcad9e8f708192a3b4c5"]
}

tcb = {
  accept            = ["UpToDate", "SWHardeningNeeded"]
  accept_advisories = ["INTEL-SA-00615"]
}

# On a machine of the model's owner.
key_server = {
  host = {
    ssh = {
      address   = "203.0.113.7"
      host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFXvORlmqUjljhB9c2vjHG9/WUkymQtpua6NJPnscOyq"]
    }
  }
  container_name = "cc-key-server-staging"
  directory      = "/var/lib/cc-key-server-staging"
  listen         = ":4434"
}
allow_key_server_on_client = false
attestation_names          = ["attestation.staging.example.com"]
collateral                 = { region = "cn-beijing", network = "public" }

serving_host = {
  ssh = {
    address   = "198.51.100.10"
    host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB+WG90RFPWGK6pic5Mu5y/57cPDNPQhdgZoAz9rJ5C/"]
  }
}

on_destroy = "keep"
