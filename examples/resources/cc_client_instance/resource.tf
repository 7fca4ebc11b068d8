resource "cc_security_group" "client" {
  vpc_id           = "vpc-2zeu6dpr1rm3xexample"
  key_server_cidrs = ["172.16.0.0/24"]
}

# A vSwitch and a group suffice; everything else has a sensible default.
resource "cc_client_instance" "client" {
  vswitch_id         = "vsw-2ze8vnbpdh0a2example"
  security_group_ids = [cc_security_group.client.id]

  key_name = "ops"

  # Change it to run the bootstrap again on the same machine.
  bootstrap_triggers = {
    docker = "26"
  }

  tags = {
    project = "confidential-inference"
  }
}

# For ~/.ssh/known_hosts: a first connection need not trust whatever answers.
output "known_hosts" {
  value = [for key in cc_client_instance.client.ssh_host_keys : "${cc_client_instance.client.public_ip} ${key}"]
}
