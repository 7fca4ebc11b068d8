# Where it is.

variable "vswitch_id" {
  description = "vSwitch of the machine, and with it its zone and VPC, such as `alicloud_vswitch.serving.id`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^vsw-[^ :/]+$", var.vswitch_id))
    error_message = "vswitch_id is no id of a vSwitch. Give the id, vsw-..., and not the name: alicloud_vswitch.NAME.id, or what the console lists."
  }
}

variable "vpc_id" {
  description = "VPC of the vSwitch, such as `alicloud_vpc.serving.id`, for the security group. Null only with `create_security_group = false`."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null || can(regex("^vpc-[^ :/]+$", var.vpc_id))
    error_message = "vpc_id is no id of a VPC. Give the id, vpc-..., and not the name: alicloud_vpc.NAME.id, or what the console lists."
  }

  validation {
    condition     = !var.create_security_group || var.vpc_id != null
    error_message = "A security group is made in a VPC: set vpc_id, or create_security_group = false and security_group_ids."
  }
}

# Who reaches it.

variable "create_security_group" {
  description = "Whether the machine gets a security group of its own. Without one it has the groups of `security_group_ids` alone."
  type        = bool
  default     = true
  nullable    = false
}

variable "security_group_ids" {
  description = "Ids of groups that exist, such as `alicloud_security_group.office.id`, for the machine to be in too."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.security_group_ids : can(regex("^sg-[^ :/]+$", id))])
    error_message = "security_group_ids has what is no id of a security group. Give ids, sg-..., and not names: alicloud_security_group.NAME.id."
  }

  validation {
    condition     = var.create_security_group || length(var.security_group_ids) > 0
    error_message = "A machine is in one security group at least: name one in security_group_ids, or leave create_security_group at true."
  }

  validation {
    condition     = length(var.security_group_ids) + (var.create_security_group ? 1 : 0) <= 16
    error_message = "A machine is in 16 security groups at most, its own counted: name fewer in security_group_ids."
  }
}

variable "ssh_cidrs" {
  description = "CIDR blocks that reach SSH, such as that of the machine which runs Terraform. None is needed for the bootstrap, which uses Cloud Assistant."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.ssh_cidrs : try(cidrsubnet(c, 0, 0) == c, false)])
    error_message = "ssh_cidrs are CIDR blocks in canonical form: 192.0.2.0/24, not 192.0.2.7/24; a single address is 192.0.2.7/32."
  }

  validation {
    condition     = alltrue([for c in var.ssh_cidrs : !endswith(c, "/0")])
    error_message = "ssh_cidrs would open SSH to the whole internet. Name the networks of your operators; your own address with /32 will do."
  }

  validation {
    condition     = var.create_security_group || length(var.ssh_cidrs) == 0
    error_message = "ssh_cidrs are rules of the group that create_security_group = false leaves out. Put them into a group of security_group_ids."
  }
}

variable "key_server_cidrs" {
  description = "CIDR blocks that reach the key server, such as the vSwitch of the machine with SGX and the network that Terraform runs in. The key server trusts none of them: enclaves prove themselves."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.key_server_cidrs : try(cidrsubnet(c, 0, 0) == c, false)])
    error_message = "key_server_cidrs are CIDR blocks in canonical form: 172.16.0.0/24, not 172.16.0.7/24; a single address is 172.16.0.7/32."
  }

  validation {
    condition     = var.create_security_group || length(var.key_server_cidrs) == 0
    error_message = "key_server_cidrs are rules of the group that create_security_group = false leaves out. Put them into a group of security_group_ids."
  }
}

variable "key_server_port" {
  description = "Port of the key server."
  type        = number
  default     = 4433
  nullable    = false

  validation {
    condition     = var.key_server_port >= 1 && var.key_server_port <= 65535 && floor(var.key_server_port) == var.key_server_port
    error_message = "key_server_port is a TCP port, 1 to 65535; Gramine's usual one is 4433."
  }
}

variable "ingress_rules" {
  description = "Further rules of the group. `port_range` is `FROM/TO`; `source` a CIDR block, a security group or a prefix list."
  type = list(object({
    port_range  = string
    source      = string
    protocol    = optional(string, "tcp")
    policy      = optional(string, "accept")
    priority    = optional(number, 1)
    description = optional(string)
  }))
  default  = []
  nullable = false

  validation {
    condition     = alltrue([for r in var.ingress_rules : can(regex("^([1-9][0-9]{0,4}/[1-9][0-9]{0,4}|-1/-1)$", r.port_range))])
    error_message = "port_range of ingress_rules is FROM/TO, such as 8500/8501, or -1/-1 for a protocol without ports."
  }

  validation {
    condition     = var.create_security_group || length(var.ingress_rules) == 0
    error_message = "ingress_rules are rules of the group that create_security_group = false leaves out. Put them into a group of security_group_ids."
  }
}

variable "key_name" {
  description = "Key pair for SSH, such as `alicloud_ecs_key_pair.ops.key_pair_name`. Null: nobody can log in. There is no password."
  type        = string
  default     = null

  validation {
    condition     = var.key_name == null || can(regex("^\\pL[\\pL\\pN_.:-]{1,127}$", var.key_name))
    error_message = "key_name is the name of a key pair, 2 to 128 letters, digits, periods, underscores, colons or hyphens; not its id or its public key."
  }

  validation {
    condition     = var.key_name != null || length(var.ssh_cidrs) == 0
    error_message = "ssh_cidrs let somebody reach SSH, and without key_name nobody can log in: name a key pair, or leave ssh_cidrs out."
  }
}

# What it is.

variable "name" {
  description = "Name of the machine and of its security group."
  type        = string
  default     = "cc-client"
  nullable    = false

  validation {
    condition     = can(regex("^\\pL[\\pL\\pN_.:-]{1,127}$", var.name))
    error_message = "name has 2 to 128 letters, digits, periods, underscores, colons or hyphens, and starts with a letter."
  }
}

variable "instance_type" {
  description = "Type of the machine, such as `ecs.c7.large`. Null: one with 2 vCPUs and 4 GiB that the zone has in stock."
  type        = string
  default     = null

  validation {
    condition     = var.instance_type == null || can(regex("^ecs\\.[a-z0-9.-]+$", var.instance_type))
    error_message = "instance_type is written ecs.FAMILY.SIZE, such as ecs.c7.large; data.cc_instance_types lists what a zone has."
  }
}

variable "image_id" {
  description = "Image of the machine. Null: the newest Alibaba Cloud Linux 3 when it is made. Another image later replaces the machine."
  type        = string
  default     = null

  validation {
    condition     = var.image_id == null || var.image_id != ""
    error_message = "image_id is empty. Name an image (data.cc_images lists them), or leave it null for the newest Alibaba Cloud Linux 3."
  }
}

variable "spot_strategy" {
  description = "How the price is made: `NoSpot` pays the usual price, `SpotAsPriceGo` the market's, and the machine may be reclaimed."
  type        = string
  default     = "NoSpot"
  nullable    = false

  validation {
    condition     = contains(["NoSpot", "SpotAsPriceGo"], var.spot_strategy)
    error_message = "spot_strategy is \"NoSpot\" or \"SpotAsPriceGo\"."
  }
}

variable "system_disk" {
  description = "The system disk: `size` in GiB, `category`, and `performance_level` of an ESSD. Others replace the machine."
  type = object({
    size              = optional(number, 40)
    category          = optional(string, "cloud_essd")
    performance_level = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.system_disk.size >= 20 && var.system_disk.size <= 2048 && floor(var.system_disk.size) == var.system_disk.size
    error_message = "system_disk.size is 20 to 2048, in whole GiB."
  }

  validation {
    condition     = var.system_disk.performance_level == null || var.system_disk.category == "cloud_essd"
    error_message = "Only an ESSD has a performance level: leave system_disk.performance_level out, or set system_disk.category = \"cloud_essd\"."
  }
}

variable "internet_max_bandwidth_out" {
  description = "Bandwidth to the internet in Mbit/s. With 0 the machine has no public address: Terraform and the enclave must be in its network."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.internet_max_bandwidth_out >= 0 && var.internet_max_bandwidth_out <= 100 && floor(var.internet_max_bandwidth_out) == var.internet_max_bandwidth_out
    error_message = "internet_max_bandwidth_out is 0 to 100 Mbit/s, without a fraction; 0 is no public address."
  }
}

variable "bootstrap" {
  description = "Whether Docker-CE, wget, git and pip are put in place, and the machine's SSH host keys are read. Without it `ssh_host_keys` is empty."
  type        = bool
  default     = true
  nullable    = false
}

variable "bootstrap_user" {
  description = "User to put into the group docker, which makes it as powerful as root. It must exist in the image."
  type        = string
  default     = null

  validation {
    condition     = var.bootstrap_user == null || can(regex("^[a-z_][a-z0-9_-]{0,30}$", var.bootstrap_user))
    error_message = "bootstrap_user is the name of a Linux user: lower-case letters, digits, underscores and hyphens, starting with a letter."
  }

  validation {
    condition     = var.bootstrap_user == null || var.bootstrap
    error_message = "It is the bootstrap that puts bootstrap_user into the group docker: set bootstrap = true, or leave bootstrap_user out."
  }
}

variable "bootstrap_triggers" {
  description = "Values whose change runs the bootstrap again. What is done already is not done twice."
  type        = map(string)
  default     = null
}

variable "ram_role_name" {
  description = "RAM role of the machine. Null: none."
  type        = string
  default     = null
}

variable "resource_group_id" {
  description = "Resource group of the machine and its security group, `rg-...`. Null: the account's."
  type        = string
  default     = null

  validation {
    condition     = var.resource_group_id == null || can(regex("^rg-[^ :/]+$", var.resource_group_id))
    error_message = "resource_group_id is no id of a resource group. Give the id, rg-..., and not the name: alicloud_resource_manager_resource_group.NAME.id."
  }
}

variable "deletion_protection" {
  description = "Whether a plan that would delete the machine fails."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "Tags of the machine and its security group."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(var.tags) <= 19
    error_message = "There are 19 tags at most: Alibaba Cloud allows 20, and the provider marks what it made with one."
  }

  validation {
    condition     = alltrue([for k in keys(var.tags) : !can(regex("^(aliyun|acs:)|^https?://", k))])
    error_message = "A tag's key does not start with aliyun, acs:, http:// or https://, which Alibaba Cloud reserves: rename it."
  }
}

variable "timeouts" {
  description = "How long making, changing and deleting the machine may take, bootstrap included, such as `30m`."
  type = object({
    create = optional(string)
    update = optional(string)
    delete = optional(string)
  })
  default = null
}
