# The cloud is trusted with encrypted files alone.

environment    = "prod"
region         = "cn-beijing"
operator_cidrs = ["203.0.113.17/32"]
enclave_cidrs  = ["172.16.2.0/24"]

network = {
  vpc_id     = "vpc-2zeu6dpr1rm3xexample"
  vswitch_id = "vsw-2zekdl9ojxvjdexample"
  key_name   = "prod"
}

client = {
  spot_strategy       = "NoSpot"
  deletion_protection = true
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
  accept                = ["UpToDate", "SWHardeningNeeded"]
  accept_advisories     = ["INTEL-SA-00615"]
  min_evaluation_number = 17
}

# On a machine of the model's owner, which keeps the keys in memory alone.
key_server = {
  host = {
    ssh = {
      address   = "203.0.113.7"
      host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFXvORlmqUjljhB9c2vjHG9/WUkymQtpua6NJPnscOyq"]
    }
  }
  secrets_on_disk = false
}
allow_key_server_on_client = false
attestation_names          = ["attestation.example.com"]
collateral                 = { region = "cn-beijing", network = "public" }

serving_host = {
  ssh = {
    address   = "198.51.100.11"
    host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB+WG90RFPWGK6pic5Mu5y/57cPDNPQhdgZoAz9rJ5C/"]
  }
}

on_destroy = "keep"
