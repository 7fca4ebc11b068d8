# Zones that have vSGX machines in stock now.
data "cc_zones" "vsgx" {
  instance_type = "ecs.g7t.large"
}

output "zones" {
  value = data.cc_zones.vsgx.ids
}
