# Cheap, and everything in the cloud: the model is no secret here.

environment    = "dev"
region         = "cn-beijing"
operator_cidrs = ["203.0.113.17/32"]
enclave_cidrs  = ["172.16.0.0/24"]

network = {
  vpc_id     = "vpc-2zeu6dpr1rm3xexample"
  vswitch_id = "vsw-2ze8vnbpdh0a2example"
  key_name   = "dev"
}

client = {
  spot_strategy = "SpotAsPriceGo"
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

# On the client machine. Whoever controls the cloud account can read the keys.
key_server                 = {}
allow_key_server_on_client = true
attestation_names          = ["attestation.dev.example.com"]
collateral                 = { region = "cn-beijing", network = "vpc" }

serving_host = {
  ssh = {
    address   = "198.51.100.9"
    host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB+WG90RFPWGK6pic5Mu5y/57cPDNPQhdgZoAz9rJ5C/"]
  }
}

on_destroy = "delete"
