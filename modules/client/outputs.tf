output "instance_id" {
  description = "Id of the machine, `i-...`."
  value       = cc_client_instance.client.id
}

output "public_ip" {
  description = "Its address on the internet; empty or null if it has none."
  value       = cc_client_instance.client.public_ip
}

output "private_ip" {
  description = "Its address in the VPC: what the key server's name must lead to on an enclave's machine in the same VPC."
  value       = cc_client_instance.client.private_ip
}

output "ssh_address" {
  description = "Address for SSH from here: the public one, or else the private one."
  value       = try(coalesce(cc_client_instance.client.public_ip), cc_client_instance.client.private_ip)
}

output "ssh_host_keys" {
  description = "Its SSH host keys, read through Cloud Assistant, so that a first connection need not trust whatever answers. Empty without `bootstrap`."
  value       = cc_client_instance.client.ssh_host_keys
}

output "security_group_id" {
  description = "Id of the group that was made, for rules of other resources; null with `create_security_group = false`."
  value       = one(cc_security_group.client[*].id)
}

output "security_group_ids" {
  description = "Ids of all groups that the machine is in."
  value       = cc_client_instance.client.security_group_ids
}

output "zone_id" {
  description = "Zone of the machine."
  value       = cc_client_instance.client.zone_id
}
