# What a zone has with 2 vCPUs and 4 GiB.
data "cc_instance_types" "client" {
  zone_id    = "cn-beijing-k"
  vcpus      = 2
  memory_gib = 4
}

output "types" {
  value = data.cc_instance_types.client.types[*].id
}
