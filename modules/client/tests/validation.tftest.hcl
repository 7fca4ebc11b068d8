# Each validation fails here, by itself where a variable has several. Terraform
# does not examine a variable whose validations look at one that failed.

variables {
  vpc_id     = "vpc-2zeu6dpr1rm3xexample"
  vswitch_id = "vsw-2ze8vnbpdh0a2example"
}

run "values" {
  command = plan

  variables {
    vswitch_id                 = "serving"
    vpc_id                     = "serving"
    security_group_ids         = ["office"]
    ssh_cidrs                  = ["192.0.2.7/24"]
    key_server_cidrs           = ["192.0.2.7"]
    key_server_port            = 0
    ingress_rules              = [{ port_range = "8500", source = "192.0.2.0/24" }]
    name                       = "1st"
    instance_type              = "2 vCPU"
    image_id                   = ""
    spot_strategy              = "Cheap"
    system_disk                = { size = 10 }
    internet_max_bandwidth_out = 101
    bootstrap_user             = "Root"
    resource_group_id          = "default"
    tags                       = { "acs:mine" = "x" }
  }

  expect_failures = [
    var.vswitch_id, var.vpc_id, var.security_group_ids, var.ssh_cidrs, var.key_server_cidrs, var.key_server_port, var.ingress_rules, var.name,
    var.instance_type, var.image_id, var.spot_strategy, var.system_disk, var.internet_max_bandwidth_out, var.bootstrap_user, var.resource_group_id, var.tags,
  ]
}

run "rules_without_a_group" {
  command = plan

  variables {
    create_security_group = false
    key_name              = "ops"
    ssh_cidrs             = ["203.0.113.17/32"]
    key_server_cidrs      = ["192.0.2.0/24"]
    ingress_rules         = [{ port_range = "8500/8501", source = "192.0.2.0/24" }]
  }

  expect_failures = [var.security_group_ids, var.ssh_cidrs, var.key_server_cidrs, var.ingress_rules]
}

run "combinations" {
  command = plan

  variables {
    vpc_id         = null
    key_name       = null
    ssh_cidrs      = ["203.0.113.17/32"]
    system_disk    = { category = "cloud_auto", performance_level = "PL1" }
    bootstrap      = false
    bootstrap_user = "ops"
    tags           = { for n in range(20) : "t${n}" => "" }
  }

  expect_failures = [var.vpc_id, var.key_name, var.system_disk, var.bootstrap_user, var.tags]
}

run "a_public_key_is_no_key_pair" {
  command = plan

  variables {
    key_name = "ssh-ed25519 AAAA"
  }

  expect_failures = [var.key_name]
}

run "limits" {
  command = plan

  variables {
    ssh_cidrs          = ["0.0.0.0/0"]
    security_group_ids = [for n in range(16) : "sg-${n}"]
  }

  expect_failures = [var.ssh_cidrs, var.security_group_ids]
}
