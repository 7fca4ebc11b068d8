variable "environment" {
  description = "Which environment this is: `dev`, `staging` or `prod`. What prod may not do is refused by the other variables."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is \"dev\", \"staging\" or \"prod\"."
  }
}

variable "region" {
  description = "Region of the cloud resources."
  type        = string
}

variable "directory" {
  description = "Directory of what is made here; each environment has one of its own in it."
  type        = string
  default     = "work"
}

# Made with the official provider, or by hand.

variable "network" {
  description = "Ids of the VPC and the vSwitch of the client machine, and its key pair."
  type = object({
    vpc_id     = string
    vswitch_id = string
    key_name   = string
  })
}

variable "operator_cidrs" {
  description = "Networks that Terraform and operators are in."
  type        = set(string)
}

variable "enclave_cidrs" {
  description = "Networks that enclaves come from."
  type        = set(string)
}

variable "client" {
  description = "What is special about the client machine."
  type = object({
    instance_type       = optional(string)
    spot_strategy       = optional(string, "NoSpot")
    deletion_protection = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.environment != "prod" || var.client.spot_strategy == "NoSpot"
    error_message = "In prod the client machine is no spot instance, which may be reclaimed: set client.spot_strategy = \"NoSpot\"."
  }
}

# What is served, and to whom.

variable "model" {
  description = "The model, as module confidential-serving has it."
  type = object({
    name         = string
    graph        = string
    graph_sha256 = optional(string)
    version      = optional(number, 1)
    inputs       = optional(list(string))
    outputs      = optional(list(string))
    optimize     = optional(bool, false)
  })
}

variable "enclave" {
  description = "The enclave that gets the key: Gramine's .sig file, or its measurements."
  type = object({
    sigstruct_file = optional(string)
    mr_enclave     = optional(list(string))
    mr_signer      = optional(list(string))
  })
}

variable "tcb" {
  description = "Which state of the platform is good enough."
  type = object({
    accept                = list(string)
    accept_advisories     = optional(list(string))
    min_evaluation_number = optional(number)
  })

  validation {
    condition     = var.environment != "prod" || var.tcb.min_evaluation_number != null
    error_message = "In prod a verdict must know of recent TCB recoveries: set tcb.min_evaluation_number (ccctl collateral inspect shows the current one)."
  }
}

variable "serving_host" {
  description = "The machine with SGX, which gets encrypted files alone."
  type = object({
    ssh = object({
      address          = string
      user             = optional(string, "root")
      host_keys        = list(string)
      private_key_file = optional(string)
    })
  })
}

variable "serving_directory" {
  description = "Directory there."
  type        = string
  default     = "/srv/serving"
}

# The key server.

variable "key_server" {
  description = "Where the key server runs: `host.ssh` is a machine of the model's owner; without a host it is the client machine."
  type = object({
    host = optional(object({
      ssh = object({
        address          = string
        user             = optional(string, "root")
        host_keys        = list(string)
        private_key_file = optional(string)
      })
    }))
    client_private_key_file = optional(string)
    client_ssh_port         = optional(number, 22)
    directory               = optional(string, "/var/lib/cc-key-server")
    listen                  = optional(string, ":4433")
    container_name          = optional(string, "cc-key-server")
    secrets_on_disk         = optional(bool, true)
    program = optional(object({
      path   = optional(string)
      url    = optional(string)
      sha256 = optional(string)
      image  = optional(string)
    }), {})
  })
}

variable "allow_key_server_on_client" {
  description = "Allow the key server on the client machine, where whoever controls the cloud account can read the keys."
  type        = bool
  default     = false

  validation {
    condition     = var.environment != "prod" || !var.allow_key_server_on_client
    error_message = "In prod the key server runs on a machine of the model's owner: give key_server.host."
  }
}

variable "attestation_names" {
  description = "Names by which enclaves look for the key server."
  type        = list(string)
}

variable "collateral" {
  description = "Where the key server has the facts about SGX platforms from."
  type = object({
    region  = optional(string)
    network = optional(string)
    url     = optional(string)
    bundle  = optional(string)
  })
}

variable "allow_trusted_root" {
  description = "Root of a simulated platform, for trials without SGX."
  type        = string
  default     = null
}

variable "on_destroy" {
  description = "What a destroy does with keys: `keep` or `delete`."
  type        = string
  default     = "keep"

  validation {
    condition     = var.environment != "prod" || var.on_destroy == "keep"
    error_message = "In prod keys outlive a destroy: leave on_destroy at \"keep\"."
  }
}
