# vpc_id, vswitch_id and key_name come from the environment (TF_VAR_...): the
# simulated cloud says what they are.

run "with_ids_known_after_apply" {
  module {
    source = "./tests/official"
  }

  assert {
    condition     = startswith(output.client.instance_id, "i-") && startswith(output.client.security_group_id, "sg-")
    error_message = "The machine and its group have no ids: ${jsonencode(output.client)}"
  }

  assert {
    condition     = length(output.client.security_group_ids) == 2 && contains(output.client.security_group_ids, output.client.security_group_id)
    error_message = "The machine is not in its own group and the one that was given: ${jsonencode(output.client.security_group_ids)}"
  }

  assert {
    condition     = output.client.ssh_address == output.client.public_ip && output.client.public_ip != "" && output.client.private_ip != ""
    error_message = "The machine is reached at ${output.client.ssh_address}, not at its public address ${output.client.public_ip}."
  }

  assert {
    condition     = length(output.client.ssh_host_keys) > 0
    error_message = "The bootstrap read no SSH host key."
  }
}

run "without_a_group_of_its_own" {
  command = plan

  variables {
    create_security_group = false
    security_group_ids    = ["sg-2ze3xxmsh1example"]
    vpc_id                = null
  }

  assert {
    condition     = length(cc_security_group.client) == 0 && cc_client_instance.client.security_group_ids == toset(["sg-2ze3xxmsh1example"])
    error_message = "A group is planned all the same."
  }

  assert {
    condition     = output.security_group_id == null
    error_message = "There is an id of a group that is not there."
  }
}

run "without_an_address_on_the_internet" {
  command = plan

  variables {
    internet_max_bandwidth_out = 0
    bootstrap                  = false
  }

  assert {
    condition     = length(cc_security_group.client) == 1 && cc_security_group.client[0].ssh_cidrs == null && cc_security_group.client[0].key_server_cidrs == null
    error_message = "Somebody reaches a machine that nobody was let to."
  }
}
