# The ground it stands on.

variable "host" {
  description = "Machine of the key server, which the owner of the data must trust: who controls it can read every key. Exactly one of `ssh`, a machine with Docker that is reached by SSH, and `local = {}`, the one that runs Terraform. `host_keys` (or a `known_hosts` file) are read on the machine's own console; a user that is not root needs sudo without a password."
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
  nullable = false

  validation {
    condition     = (var.host.local == null) != (var.host.ssh == null)
    error_message = "host is one machine: local = {} for the one that runs Terraform, or ssh = { address, host_keys } for another one."
  }

  validation {
    condition     = var.host.ssh == null || try((var.host.ssh.host_keys == null) != (var.host.ssh.known_hosts == null), false)
    error_message = "host.ssh has host_keys or known_hosts, and not both: nothing is trusted on first use, because whoever answers first would get the keys."
  }

  validation {
    condition     = try(var.host.ssh.host_keys, null) == null || try(length(var.host.ssh.host_keys) > 0 && alltrue([for k in var.host.ssh.host_keys : can(regex("^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*", k))]), false)
    error_message = "host.ssh.host_keys are public keys, such as \"ssh-ed25519 AAAA...\": the content of /etc/ssh/ssh_host_ed25519_key.pub there, and no fingerprints."
  }

  validation {
    condition     = alltrue([for a in [try(var.host.ssh.address, null), try(var.host.ssh.jump.address, null)] : a == null || can(regex("^[^ /@]+$", a))])
    error_message = "An address of host.ssh is HOST or HOST:PORT, such as 203.0.113.7 or keys.example.com:2222; the user is host.ssh.user."
  }
}

variable "ssh_private_key" {
  description = "Private key to log in with, of a secret store by an ephemeral resource; it is in no state and no plan. A refresh and a destroy need the key in the SSH agent. Null: `host.ssh.private_key_file`, or the agent's keys."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = var.ssh_private_key == null || can(regex("^-----BEGIN [A-Z ]*PRIVATE KEY-----", var.ssh_private_key))
    error_message = "ssh_private_key is an unencrypted private key in OpenSSH's or PEM form, and not the name of a file: that is host.ssh.private_key_file."
  }

  validation {
    condition     = (var.ssh_private_key == null) == (var.ssh_private_key_version == null)
    error_message = "ssh_private_key and ssh_private_key_version go together: Terraform cannot compare the key, so change the number with it."
  }
}

variable "ssh_private_key_version" {
  description = "Number of `ssh_private_key`: change it with the key."
  type        = number
  default     = null

  validation {
    condition     = var.ssh_private_key_version == null || (var.host.ssh != null && try(var.host.ssh.private_key_file, null) == null)
    error_message = "ssh_private_key is for host.ssh without private_key_file: leave one of the two out."
  }
}

variable "runtime" {
  description = "`docker` runs it in a container, which Docker starts again after a crash or a reboot; `process` runs `ccctl` on the machine that runs Terraform, for trials."
  type        = string
  default     = "docker"
  nullable    = false

  validation {
    condition     = contains(["docker", "process"], var.runtime)
    error_message = "runtime is \"docker\" or \"process\"."
  }

  validation {
    condition     = var.runtime != "process" || var.host.local != null
    error_message = "runtime = \"process\" is for the machine that runs Terraform, host = { local = {} }; on another machine it is \"docker\"."
  }
}

variable "directory" {
  description = "Directory of the server on its machine. Nobody else may write to it: who can write the configuration can release keys."
  type        = string
  default     = "/var/lib/cc-key-server"
  nullable    = false

  validation {
    condition     = var.directory != "" && (var.host.ssh == null || startswith(var.directory, "/"))
    error_message = "directory is empty, or not absolute on a machine that is reached by SSH: /var/lib/cc-key-server is a good one."
  }
}

# How it is reached.

variable "listen" {
  description = "TCP address for enclaves, `HOST:PORT`; without a host, every address of the machine."
  type        = string
  default     = ":4433"
  nullable    = false

  validation {
    condition     = try(tonumber(regex(":([0-9]+)$", var.listen)[0]) <= 65535, false) && !strcontains(var.listen, "/")
    error_message = "listen is HOST:PORT, or :PORT for every address of the machine, such as :4433."
  }
}

variable "server_names" {
  description = "Names and addresses by which enclaves look for the server (`SECRET_PROVISION_SERVERS`); its certificate is for them."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.server_names) > 0 && length(distinct(var.server_names)) == length(var.server_names)
    error_message = "server_names has one name at least, and each once: what SECRET_PROVISION_SERVERS of the enclaves says, such as attestation.service.com."
  }

  validation {
    condition     = alltrue([for n in var.server_names : can(regex("^[^ :/@A-Z]+$", n)) || can(cidrhost("${n}/128", 0))])
    error_message = "server_names are DNS names in lower case or addresses, without a port: attestation.service.com, not attestation.service.com:4433."
  }
}

variable "tls_directory" {
  description = "Directory here that the certificate is made in, with its authority, which enclaves trust. Null only with `certificate`."
  type        = string
  default     = null

  validation {
    condition     = (var.tls_directory == null) != (var.certificate == null)
    error_message = "The server has one certificate: name the tls_directory that it is made in, or the files of one that exists in certificate."
  }

  validation {
    condition     = var.tls_directory == null || var.tls_directory != ""
    error_message = "tls_directory is empty. Name a directory, such as \"work/attestation\"."
  }
}

variable "certificate" {
  description = "Instead of `tls_directory`: PEM files of a certificate chain and its private key that exist already."
  type = object({
    certificate = string
    private_key = string
  })
  default = null
}

variable "certificate_settings" {
  description = "Of the certificate that is made: algorithm of the keys, lifetime and time of renewal in hours, step of a change of the authority. Null: what `cc_tls_materials` does by default."
  type = object({
    key_algorithm         = optional(string)
    validity_period_hours = optional(number)
    early_renewal_hours   = optional(number)
    ca_rotation           = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.certificate_settings.key_algorithm == null || contains(["ecdsa-p256", "rsa-3072", "rsa-4096"], coalesce(var.certificate_settings.key_algorithm, "-"))
    error_message = "certificate_settings.key_algorithm is \"ecdsa-p256\", \"rsa-3072\" or \"rsa-4096\"."
  }
}

# Who gets what.

variable "secrets" {
  description = "The wrap keys that rules may release, by name: `file` here, and `encoding`, `raw` for Gramine 1.3 and later, `hex` for older ones."
  type = map(object({
    file     = string
    encoding = optional(string, "raw")
  }))
  nullable = false

  validation {
    condition     = length(var.secrets) > 0
    error_message = "secrets is empty, and a key server without a key is of no use: { model = { file = module.model.wrap_key_file } }."
  }

  validation {
    condition     = alltrue([for s in values(var.secrets) : contains(["raw", "hex"], s.encoding)])
    error_message = "encoding of secrets is \"raw\" for Gramine 1.3 and later, or \"hex\" for 1.0 to 1.2."
  }
}

variable "rules" {
  description = "Who gets which secret. Every condition of a rule that is given must hold; the first rule that does releases its secret, and if there is none, nothing is released."
  type = list(object({
    name        = string
    secret      = string
    mr_enclave  = optional(list(string))
    mr_signer   = optional(list(string))
    isv_prod_id = optional(number)
    min_isv_svn = optional(number)
    server_name = optional(list(string))
    allow_debug = optional(bool, false)
    tcb = object({
      accept                = list(string)
      accept_advisories     = optional(list(string))
      min_evaluation_number = optional(number)
    })
  }))
  nullable = false

  validation {
    condition     = length(var.rules) > 0 && length(distinct(var.rules[*].name)) == length(var.rules)
    error_message = "rules has one rule at least, each with a name of its own: the log tells by it why a key was released."
  }

  validation {
    condition     = alltrue([for r in var.rules : contains(keys(var.secrets), r.secret)])
    error_message = "A rule releases a secret that there is not: secret of rules is a name in secrets (${join(", ", keys(var.secrets))})."
  }

  validation {
    condition     = alltrue(flatten([for r in var.rules : [for m in concat(coalesce(r.mr_enclave, []), coalesce(r.mr_signer, [])) : can(regex("^[0-9a-fA-F]{64}$", m))]]))
    error_message = "mr_enclave and mr_signer of rules have 64 hex digits each: ccctl sigstruct inspect prints them from Gramine's .sig file."
  }

  validation {
    condition     = alltrue([for r in var.rules : length(coalesce(r.mr_enclave, [])) > 0 || (length(coalesce(r.mr_signer, [])) > 0 && r.isv_prod_id != null && r.min_isv_svn != null)])
    error_message = "A rule without mr_enclave names mr_signer, isv_prod_id and min_isv_svn: a signer signs more than one product, and has signed old versions."
  }

  validation {
    condition = alltrue([for r in var.rules : length(r.tcb.accept) > 0 && length(setsubtract(r.tcb.accept, [
      "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded",
    ])) == 0])
    error_message = "tcb.accept of rules lists statuses in Intel's words, such as [\"UpToDate\", \"SWHardeningNeeded\"], the best that Alibaba Cloud's vSGX machines have; Revoked is never accepted."
  }

  validation {
    condition     = alltrue(flatten([for r in var.rules : [for a in coalesce(r.tcb.accept_advisories, []) : can(regex("^INTEL-[A-Z]+-[0-9]+$", a))]]))
    error_message = "accept_advisories of rules are Intel's numbers, such as INTEL-SA-00615."
  }
}

variable "collateral" {
  description = "Where the signed facts about SGX platforms come from: `region` (Alibaba Cloud's service there, `network` `public` or `vpc`), `url` (another one), or `bundle` (a file of `ccctl collateral fetch`). Exactly one."
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
    condition     = var.collateral.network == null || (var.collateral.region != null && contains(["public", "vpc"], coalesce(var.collateral.network, "-")))
    error_message = "collateral.network goes with region: \"vpc\" on a machine in that region, \"public\" elsewhere."
  }
}

variable "allow_trusted_root" {
  description = "PEM file of roots to trust instead of Intel's: a simulated platform's. A quote under such a root proves nothing about hardware."
  type        = string
  default     = null
}

# How it runs.

variable "program" {
  description = "The released `ccctl`: its `path` here, its https `url` with `sha256`, or an `image` in a registry by digest. Nothing: the one beside the provider, or on `PATH`. For a container it is the one for linux/amd64."
  type = object({
    path   = optional(string)
    url    = optional(string)
    sha256 = optional(string)
    image  = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = length([for v in [var.program.path, var.program.url, var.program.image] : v if v != null]) <= 1
    error_message = "program is of one place: path, url or image."
  }

  validation {
    condition     = (var.program.url == null) == (var.program.sha256 == null) && (var.program.url == null || try(startswith(var.program.url, "https://") && can(regex("^[0-9a-f]{64}$", var.program.sha256)), false))
    error_message = "program.url is an https URL, and program.sha256 goes with it: 64 lower-case hex digits, as in the release's SHA256SUMS."
  }

  validation {
    condition     = var.program.image == null || can(regex("@sha256:[0-9a-f]{64}$", var.program.image))
    error_message = "program.image names an image by its digest, NAME@sha256:...: a tag can be moved to another program."
  }

  validation {
    condition     = var.runtime == "docker" || (var.program.url == null && var.program.image == null)
    error_message = "program.url and program.image are for runtime = \"docker\"; a process is started from program.path."
  }
}

variable "container_name" {
  description = "Name of the container, for a machine with several key servers."
  type        = string
  default     = "cc-key-server"
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9_.-]+$", var.container_name))
    error_message = "container_name has two letters, digits, underscores, periods or hyphens at least, and starts with a letter or digit."
  }
}

variable "secrets_on_disk" {
  description = "Whether the server's machine keeps copies of the keys. With `false` they are in the container's memory alone, and after a restart the next apply hands them over again."
  type        = bool
  default     = true
  nullable    = false
}

variable "restart_policy" {
  description = "What Docker does when the server ends: `unless-stopped`, `on-failure` or `no`. Null: `unless-stopped`, or `no` with `secrets_on_disk = false`."
  type        = string
  default     = null

  validation {
    condition     = var.restart_policy == null || contains(["unless-stopped", "on-failure", "no"], coalesce(var.restart_policy, "-"))
    error_message = "restart_policy is \"unless-stopped\", \"on-failure\" or \"no\"."
  }

  validation {
    condition     = var.secrets_on_disk || coalesce(var.restart_policy, "no") == "no"
    error_message = "With secrets_on_disk = false a server that Docker starts again has no keys: leave restart_policy out, or set it to \"no\"."
  }
}

variable "probe" {
  description = "Whether an apply ends with a look from here whether the server answers, so that a firewall that is closed is noticed. Null: yes, unless it cannot."
  type        = bool
  default     = null
}

variable "admin_listen" {
  description = "Loopback address of a listener for health checks and metrics, such as `127.0.0.1:9433`. Null: none."
  type        = string
  default     = null

  validation {
    condition     = var.admin_listen == null || can(regex("^(127\\.[0-9.]+|localhost|\\[::1\\]):[0-9]+$", var.admin_listen))
    error_message = "admin_listen is a loopback address with a port, such as 127.0.0.1:9433: it shows who asks for which key."
  }
}

variable "limits" {
  description = "What clients may take of the server, as in `cc_key_server`. Null: its defaults."
  type = object({
    unfinished_handshakes  = optional(number)
    unfinished_per_address = optional(number)
    handshake_timeout      = optional(string)
    request_timeout        = optional(string)
    collateral_timeout     = optional(string)
    drain_timeout          = optional(string)
  })
  default = null
}

variable "reload_triggers" {
  description = "Values whose change makes an apply reload the server and wait for it, such as a certificate of `certificate` that the same apply renews."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "timeouts" {
  description = "How long starting, changing and stopping it may take, such as `10m`."
  type = object({
    create = optional(string)
    update = optional(string)
    delete = optional(string)
  })
  default = null
}

# What becomes of the certificate's files.

variable "on_destroy" {
  description = "What a destroy does with the files in `tls_directory`: `keep` or `delete`."
  type        = string
  default     = "keep"
  nullable    = false

  validation {
    condition     = contains(["keep", "delete"], var.on_destroy)
    error_message = "on_destroy is \"keep\" or \"delete\"."
  }
}

variable "on_missing" {
  description = "What missing files in `tls_directory` mean: `recreate` makes them again, `ignore` takes them for kept on another machine."
  type        = string
  default     = "recreate"
  nullable    = false

  validation {
    condition     = contains(["recreate", "ignore"], var.on_missing)
    error_message = "on_missing is \"recreate\" or \"ignore\"."
  }
}
