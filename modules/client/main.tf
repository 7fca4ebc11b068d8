# A client machine on Alibaba Cloud, and the group that says who reaches it.

resource "cc_security_group" "client" {
  count = var.create_security_group ? 1 : 0

  vpc_id            = var.vpc_id
  name              = var.name
  key_server_cidrs  = length(var.key_server_cidrs) > 0 ? var.key_server_cidrs : null
  key_server_port   = var.key_server_port
  ssh_cidrs         = length(var.ssh_cidrs) > 0 ? var.ssh_cidrs : null
  ingress_rules     = length(var.ingress_rules) > 0 ? var.ingress_rules : null
  resource_group_id = var.resource_group_id
  tags              = var.tags
}

resource "cc_client_instance" "client" {
  name               = var.name
  vswitch_id         = var.vswitch_id
  security_group_ids = setunion(var.security_group_ids, cc_security_group.client[*].id)
  key_name           = var.key_name

  instance_type                 = var.instance_type
  image_id                      = var.image_id
  spot_strategy                 = var.spot_strategy
  system_disk_category          = var.system_disk.category
  system_disk_performance_level = var.system_disk.performance_level
  system_disk_size              = var.system_disk.size
  internet_max_bandwidth_out    = var.internet_max_bandwidth_out

  bootstrap          = var.bootstrap
  bootstrap_user     = var.bootstrap_user
  bootstrap_triggers = var.bootstrap_triggers

  ram_role_name       = var.ram_role_name
  resource_group_id   = var.resource_group_id
  deletion_protection = var.deletion_protection
  tags                = var.tags
  timeouts            = var.timeouts
}
