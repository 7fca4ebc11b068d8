
terraform {
  required_providers {
    cc = { source = "ccctl/cc" }
  }
}

resource "cc_security_group" "client" {
  vpc_id           = "vpc-sim00000000000000001"
  name             = "recorded"
  key_server_cidrs = ["192.0.2.0/24"]
  ssh_cidrs        = ["203.0.113.17/32"]
  ingress_rules    = [{ port_range = "8500/8501", source = "198.51.100.0/24", description = "TensorFlow Serving" }]
  tags             = { project = "upgrade" }
}

resource "cc_client_instance" "client" {
  vswitch_id         = "vsw-sim00000000000000004"
  security_group_ids = [cc_security_group.client.id]
  name               = "recorded"
  bootstrap          = false
  tags               = { project = "upgrade" }
}
