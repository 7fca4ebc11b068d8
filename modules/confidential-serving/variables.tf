variable "directory" {
  description = "Directory here that everything is made in: `keys/`, `plaintext/`, `certificates/`, `attestation/` and `encrypted/`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("[^/]$", var.directory))
    error_message = "directory is empty or ends in a slash. Name a directory, such as \"work\" or \"$${path.root}/work\"."
  }
}

# The model, and the enclave that serves it.

variable "model" {
  description = "What is served: `name`, as clients ask for it; `graph`, a frozen graph, a SavedModel's version directory, or an https URL with `graph_sha256`; and what `serving-model` says of the rest."
  type = object({
    name         = string
    graph        = string
    graph_sha256 = optional(string)
    version      = optional(number, 1)
    inputs       = optional(list(string))
    outputs      = optional(list(string))
    optimize     = optional(bool, false)
  })
  nullable = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*$", var.model.name))
    error_message = "model.name is part of a path: letters, digits, periods, underscores and hyphens, starting with a letter or digit."
  }
}

variable "enclave" {
  description = "The enclave that gets the key: Gramine's `sigstruct_file` (.sig), or its measurements; and where its manifest has the files. A rule without `mr_enclave` needs `mr_signer`, `isv_prod_id` and `min_isv_svn`."
  type = object({
    sigstruct_file  = optional(string)
    mr_enclave      = optional(list(string))
    mr_signer       = optional(list(string))
    isv_prod_id     = optional(number)
    min_isv_svn     = optional(number)
    models_path     = optional(string, "models")
    ssl_config_path = optional(string, "ssl.cfg")
    file_format     = optional(number, 1)
  })
  nullable = false

  validation {
    condition     = (var.enclave.sigstruct_file != null) != (var.enclave.mr_enclave != null || var.enclave.mr_signer != null)
    error_message = "The enclave is told by one thing: enclave.sigstruct_file, or enclave.mr_enclave and mr_signer (ccctl sigstruct inspect prints them)."
  }

  validation {
    condition     = alltrue([for m in concat(coalesce(var.enclave.mr_enclave, []), coalesce(var.enclave.mr_signer, [])) : can(regex("^[0-9a-fA-F]{64}$", m))])
    error_message = "enclave.mr_enclave and mr_signer have 64 hex digits each: ccctl sigstruct inspect prints them from Gramine's .sig file."
  }
}

variable "tcb" {
  description = "Which state of the platform is good enough: TCB statuses in Intel's words, advisories that may be open, and the smallest evaluation number. It has no default, because it is a decision: Alibaba Cloud's vSGX machines have no better status than `SWHardeningNeeded` with `INTEL-SA-00615`."
  type = object({
    accept                = list(string)
    accept_advisories     = optional(list(string))
    min_evaluation_number = optional(number)
  })
  nullable = false

  validation {
    condition     = length(var.tcb.accept) > 0
    error_message = "tcb.accept is empty, so that no machine would be good enough: list statuses, such as [\"UpToDate\", \"SWHardeningNeeded\"]."
  }
}

# The key server.

variable "key_server" {
  description = "Where and how the key server runs. `host` is a machine that the owner of the data trusts, by `ssh` or `local = {}`; null is the client machine, which needs `allow_key_server_on_client`."
  type = object({
    host = optional(object({
      local = optional(object({}))
      ssh = optional(object({
        address          = string
        user             = optional(string, "root")
        host_keys        = optional(list(string))
        known_hosts      = optional(string)
        private_key_file = optional(string)
        jump = optional(object({
          address          = string
          user             = optional(string)
          host_keys        = optional(list(string))
          known_hosts      = optional(string)
          private_key_file = optional(string)
        }))
      }))
    }))
    client_private_key_file = optional(string)
    client_ssh_port         = optional(number, 22)
    runtime                 = optional(string, "docker")
    directory               = optional(string, "/var/lib/cc-key-server")
    listen                  = optional(string, ":4433")
    container_name          = optional(string, "cc-key-server")
    secrets_on_disk         = optional(bool, true)
    probe                   = optional(bool)
    program = optional(object({
      path   = optional(string)
      url    = optional(string)
      sha256 = optional(string)
      image  = optional(string)
    }), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.key_server.host != null || var.allow_key_server_on_client
    error_message = "The key server would run on the client machine, where whoever controls the cloud account can read the keys. Give key_server.host, a machine that you trust, or say allow_key_server_on_client = true."
  }

  validation {
    condition     = var.key_server.host == null || !var.allow_key_server_on_client
    error_message = "The key server runs on key_server.host, so nothing has to be allowed: leave allow_key_server_on_client out."
  }

  validation {
    condition     = var.key_server.host != null || var.client != null
    error_message = "There is no machine for the key server: give key_server.host, or client for one on Alibaba Cloud."
  }

  validation {
    condition     = var.key_server.host != null || var.client == null || try(var.client.key_name, null) != null
    error_message = "Terraform logs in to the client machine to start the key server there: name a key pair in client.key_name."
  }

  validation {
    condition     = can(regex(":[0-9]+$", var.key_server.listen))
    error_message = "key_server.listen is HOST:PORT, or :PORT for every address of the machine, such as :4433."
  }
}

variable "allow_key_server_on_client" {
  description = "Allow the key server on the client machine, an ordinary ECS instance: whoever controls the cloud account can read the keys there. For trials with models that are no secret."
  type        = bool
  default     = false
  nullable    = false
}

variable "attestation_names" {
  description = "Names and addresses by which enclaves look for the key server (`SECRET_PROVISION_SERVERS`)."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.attestation_names) > 0
    error_message = "attestation_names has one name at least: what SECRET_PROVISION_SERVERS of the enclaves says, such as attestation.service.com."
  }
}

variable "collateral" {
  description = "Where the key server has the signed facts about SGX platforms from: `region` with `network` `public` or `vpc`, or `url`, or `bundle`."
  type = object({
    region          = optional(string)
    network         = optional(string)
    url             = optional(string)
    ca              = optional(string)
    root_ca_crl_url = optional(string)
    bundle          = optional(string)
    cache_dir       = optional(string)
    max_age         = optional(string)
    update          = optional(string)
  })
  nullable = false

  validation {
    condition     = length([for v in [var.collateral.region, var.collateral.url, var.collateral.bundle] : v if v != null]) == 1
    error_message = "collateral is of one place: region = \"cn-beijing\" for Alibaba Cloud's service, url for another one, or bundle for a file."
  }

  validation {
    condition     = var.collateral.network != "vpc" || var.key_server.host == null
    error_message = "collateral.network = \"vpc\" is reached in the region's own network alone; for key_server.host leave it out."
  }
}

variable "allow_trusted_root" {
  description = "PEM file of roots to trust instead of Intel's: a simulated platform's. A quote under such a root proves nothing about hardware."
  type        = string
  default     = null
}

# Machines.

variable "client" {
  description = "The client machine on Alibaba Cloud, as module `client` has it: ids of the vSwitch and its VPC, and a key pair. Write the object out, whose ids may be known after apply only: a plan must know whether there is one. Null: none is made."
  type = object({
    vswitch_id                 = string
    vpc_id                     = optional(string)
    key_name                   = optional(string)
    name                       = optional(string, "cc-client")
    create_security_group      = optional(bool, true)
    security_group_ids         = optional(set(string), [])
    instance_type              = optional(string)
    image_id                   = optional(string)
    spot_strategy              = optional(string, "NoSpot")
    internet_max_bandwidth_out = optional(number, 5)
    resource_group_id          = optional(string)
    deletion_protection        = optional(bool, false)
    tags                       = optional(map(string), {})
  })
  default = null
}

variable "operator_cidrs" {
  description = "Networks that Terraform and operators are in: they reach SSH of the client machine, and the key server where it runs there."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.operator_cidrs : try(cidrsubnet(c, 0, 0) == c && !endswith(c, "/0"), false)])
    error_message = "operator_cidrs are CIDR blocks in canonical form, and not the whole internet: 203.0.113.0/24, or a single address as 203.0.113.17/32."
  }

  validation {
    condition     = var.key_server.host != null || length(var.operator_cidrs) > 0 || !try(var.client.create_security_group, true)
    error_message = "Terraform starts the key server on the client machine by SSH: name the network that it runs in, such as your own address with /32."
  }
}

variable "enclave_cidrs" {
  description = "Networks that enclaves come from, such as the vSwitch of the machine with SGX: they reach the key server where it runs on the client machine."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for c in var.enclave_cidrs : try(cidrsubnet(c, 0, 0) == c, false)])
    error_message = "enclave_cidrs are CIDR blocks in canonical form: 172.16.0.0/24, or a single address as 172.16.0.20/32."
  }
}

variable "serving_host" {
  description = "The enclave's machine, which gets the encrypted files and is trusted with nothing: `ssh` or `local = {}`. Null: nothing is uploaded, and `upload_files` are yours to bring there."
  type = object({
    local = optional(object({}))
    ssh = optional(object({
      address          = string
      user             = optional(string, "root")
      host_keys        = optional(list(string))
      known_hosts      = optional(string)
      private_key_file = optional(string)
      jump = optional(object({
        address          = string
        user             = optional(string)
        host_keys        = optional(list(string))
        known_hosts      = optional(string)
        private_key_file = optional(string)
      }))
    }))
  })
  default = null

  validation {
    condition     = var.serving_host == null || try((var.serving_host.local == null) != (var.serving_host.ssh == null), false)
    error_message = "serving_host is one machine: ssh = { address, host_keys }, or local = {} for the one that runs Terraform."
  }

  validation {
    condition     = try(var.serving_host.ssh, null) == null || try((var.serving_host.ssh.host_keys == null) != (var.serving_host.ssh.known_hosts == null), false)
    error_message = "serving_host.ssh has host_keys or known_hosts, and not both: nothing is trusted on first use."
  }
}

variable "serving_directory" {
  description = "Directory on the enclave's machine that gets the encrypted files."
  type        = string
  default     = "/srv/serving"
  nullable    = false

  validation {
    condition     = startswith(var.serving_directory, "/")
    error_message = "serving_directory is an absolute path, such as /srv/serving."
  }
}

variable "ssh_private_key" {
  description = "Private key to log in with on all machines, of a secret store by an ephemeral resource; it is in no state and no plan. Null: `private_key_file` of each machine, or the SSH agent's keys."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = (var.ssh_private_key == null) == (var.ssh_private_key_version == null)
    error_message = "ssh_private_key and ssh_private_key_version go together: Terraform cannot compare the key, so change the number with it."
  }
}

variable "ssh_private_key_version" {
  description = "Number of `ssh_private_key`: change it with the key."
  type        = number
  default     = null
}

# Names and the wrap key.

variable "serving_names" {
  description = "DNS names and addresses by which clients reach TensorFlow Serving."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.serving_names) > 0
    error_message = "serving_names has one name at least: the certificate is for what clients call the server, such as grpc.tf-serving.service.com."
  }
}

variable "client_name" {
  description = "DNS name in the certificate of the clients. Null: the server asks no client who it is."
  type        = string
  default     = null
}

variable "create_wrap_key" {
  description = "Whether a wrap key is made, in `wrap_key_file`. With `false` that file is there already."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = var.create_wrap_key || var.wrap_key_file != null
    error_message = "There is no key to encrypt with: with create_wrap_key = false name the file in wrap_key_file."
  }
}

variable "wrap_key_file" {
  description = "File of the wrap key, 16 bytes. Null: `keys/wrap-key` in `directory`."
  type        = string
  default     = null
}

variable "on_destroy" {
  description = "What a destroy does with the wrap key and private keys: `keep` or `delete`. Without the wrap key nobody opens what it encrypted."
  type        = string
  default     = "keep"
  nullable    = false

  validation {
    condition     = contains(["keep", "delete"], var.on_destroy)
    error_message = "on_destroy is \"keep\" or \"delete\"."
  }
}

variable "on_missing" {
  description = "What missing files mean: `recreate` makes them again (a wrap key never), `ignore` takes them for kept on another machine."
  type        = string
  default     = "recreate"
  nullable    = false

  validation {
    condition     = contains(["recreate", "ignore"], var.on_missing)
    error_message = "on_missing is \"recreate\" or \"ignore\"."
  }
}
