# A group for the client machine. Enclaves reach the key server from the networks
# that are named; with client and enclave on one host, leave key_server_cidrs out.
resource "cc_security_group" "client" {
  vpc_id           = "vpc-2zeu6dpr1rm3xexample"
  name             = "cc-client"
  key_server_cidrs = ["172.16.0.0/24", "203.0.113.0/28"]
  ssh_cidrs        = ["203.0.113.17/32"]

  ingress_rules = [
    { port_range = "8500/8501", source = "172.16.0.0/24", description = "TensorFlow Serving" },
  ]

  tags = {
    project = "confidential-inference"
  }
}
