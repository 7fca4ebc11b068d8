variable "directory" {
  description = "Directory that everything is made in, on the machine that runs Terraform: `keys/`, `plaintext/`, `certificates/` and `encrypted/`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[^\\x00]*[^/\\x00]$", var.directory))
    error_message = "directory is empty or ends in a slash. Name a directory, such as \"work\" or \"$${path.root}/work\"."
  }
}

# The model.

variable "graph" {
  description = "The model: a frozen graph (`.pb`, `.pbtxt`), the version directory of a SavedModel, or the https URL of a frozen graph, which needs `graph_sha256`."
  type        = string
  nullable    = false

  validation {
    condition     = var.graph != "" && !startswith(var.graph, "http://")
    error_message = "graph is a path or an https URL: nobody vouches for what comes by http."
  }

  validation {
    condition     = !startswith(var.graph, "https://") || var.graph_sha256 != null
    error_message = "A graph that is fetched must be the one you mean: set graph_sha256 (sha256sum FILE prints it)."
  }
}

variable "graph_sha256" {
  description = "SHA-256 that the graph must have, 64 hex digits. It is in the state as it is written here. Null: not compared."
  type        = string
  default     = null

  validation {
    condition     = var.graph_sha256 == null || can(regex("^[0-9a-fA-F]{64}$", var.graph_sha256))
    error_message = "graph_sha256 has 64 hex digits, as sha256sum FILE prints them."
  }
}

variable "inputs" {
  description = "Tensors of a frozen graph that requests give, each `[key=]node[:port][@dtype[shape]]`; `ccctl model inspect` lists them. Null: `[\"input\"]`. Not for a SavedModel, which says so itself."
  type        = list(string)
  default     = null

  validation {
    condition     = var.inputs == null || try(length(var.inputs) > 0, false)
    error_message = "inputs is empty, and a model without inputs cannot be served: name a tensor (ccctl model inspect lists them), or leave it out."
  }
}

variable "outputs" {
  description = "Tensors of a frozen graph that responses give, written like `inputs`. Null: `[\"predict\"]`."
  type        = list(string)
  default     = null

  validation {
    condition     = var.outputs == null || try(length(var.outputs) > 0, false)
    error_message = "outputs is empty, and a model without outputs cannot be served: name a tensor (ccctl model inspect lists them), or leave it out."
  }
}

variable "optimize" {
  description = "Whether a frozen graph is rewritten for inference: dead nodes go, batch normalisations are folded."
  type        = bool
  default     = false
  nullable    = false
}

variable "model_name" {
  description = "Name of the model, as clients ask for it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*$", var.model_name))
    error_message = "model_name is part of a path: letters, digits, periods, underscores and hyphens, starting with a letter or digit."
  }
}

variable "model_version" {
  description = "Version of the model. A server that runs loads the largest: raise it to have a changed model loaded."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.model_version >= 0 && floor(var.model_version) == var.model_version
    error_message = "model_version is a whole number, 0 or more: TensorFlow Serving reads it from a directory's name."
  }
}

# Where the enclave opens it.

variable "enclave_models_path" {
  description = "Path of the models as the enclave opens them: the `uri` of the manifest's encrypted mount, without `file:`."
  type        = string
  default     = "models"
  nullable    = false

  validation {
    condition     = can(regex("^/?[^/]+(/[^/]+)*$", var.enclave_models_path)) && !startswith(var.enclave_models_path, "file:") && length(setintersection(split("/", var.enclave_models_path), [".", ".."])) == 0
    error_message = "enclave_models_path is the mount's uri without file:, and without a slash at its end, double slashes, . or ..: models for uri = \"file:models/\"."
  }
}

variable "enclave_ssl_config_path" {
  description = "Path of `ssl.cfg` as the enclave opens it."
  type        = string
  default     = "ssl.cfg"
  nullable    = false

  validation {
    condition     = can(regex("^/?[^/]+(/[^/]+)*$", var.enclave_ssl_config_path)) && !startswith(var.enclave_ssl_config_path, "file:") && length(setintersection(split("/", var.enclave_ssl_config_path), [".", ".."])) == 0
    error_message = "enclave_ssl_config_path is the file's uri without file:, and without a slash at its end, double slashes, . or ..: ssl.cfg for uri = \"file:ssl.cfg\"."
  }

  validation {
    condition     = !startswith("${trimprefix(var.enclave_ssl_config_path, "/")}/", "${trimprefix(var.enclave_models_path, "/")}/${var.model_name}/")
    error_message = "enclave_ssl_config_path is inside of the model, whose directory belongs to TensorFlow Serving: put ssl.cfg beside it."
  }
}

variable "format" {
  description = "Version of the protected files' format: `1`, which every Gramine opens, or `2`, which needs Gramine 1.9."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = contains([1, 2], var.format)
    error_message = "format is 1, which every Gramine opens, or 2, which needs Gramine 1.9."
  }
}

# The wrap key.

variable "create_wrap_key" {
  description = "Whether a wrap key is made, in `wrap_key_file`. With `false` that file is there already, such as that of another model."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = var.create_wrap_key || var.wrap_key_file != null || var.wrap_key_version != null
    error_message = "There is no key to encrypt with: with create_wrap_key = false name the file in wrap_key_file, or give wrap_key and wrap_key_version."
  }
}

variable "wrap_key_file" {
  description = "File of the wrap key, 16 bytes. Null: `keys/wrap-key` in `directory`."
  type        = string
  default     = null

  validation {
    condition     = var.wrap_key_file == null || can(regex("[^/]$", var.wrap_key_file))
    error_message = "wrap_key_file is empty or names a directory. Name a file, such as \"keys/wrap-key\"."
  }

  validation {
    condition     = var.wrap_key_file == null || var.wrap_key_version == null
    error_message = "There is one wrap key: give wrap_key_file, or wrap_key with wrap_key_version, and not both."
  }
}

variable "wrap_key" {
  description = "Instead of a file: the key as 32 hex digits, of an ephemeral resource such as `cc_wrap_key`, which opens one that is kept in Vault. It is in no state, no plan, and no file."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = var.wrap_key == null || can(regex("^[0-9a-fA-F]{32}$", var.wrap_key))
    error_message = "wrap_key is 32 hex digits: ephemeral.cc_wrap_key.NAME.hex, or what ccctl wrap-key and Vault keep as hex."
  }
}

variable "wrap_key_version" {
  description = "Number of `wrap_key`, which Terraform cannot compare: change it with the key. Null: the key is in a file."
  type        = number
  default     = null

  validation {
    condition     = (var.wrap_key == null) == (var.wrap_key_version == null)
    error_message = "wrap_key and wrap_key_version go together: Terraform cannot compare the key, so change the number with it."
  }
}

# TLS between clients and the model.

variable "server_names" {
  description = "DNS names and addresses by which clients reach TensorFlow Serving; the first is the common name too."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.server_names) > 0 && length(distinct(var.server_names)) == length(var.server_names)
    error_message = "server_names has one name at least, and each once: the certificate is for what clients call the server, such as grpc.tf-serving.service.com."
  }

  validation {
    condition     = alltrue([for n in var.server_names : can(regex("^[^ :/@A-Z]+$", n)) || can(cidrhost("${n}/128", 0))])
    error_message = "server_names are DNS names in lower case or addresses, without a port or a scheme: grpc.tf-serving.service.com, not https://grpc.tf-serving.service.com:8500."
  }
}

variable "client_name" {
  description = "DNS name in the certificate of the clients. Null: TLS is one-way, and the server asks no client who it is."
  type        = string
  default     = null

  validation {
    condition     = var.client_name == null || can(regex("^[^ :/@A-Z]+$", var.client_name))
    error_message = "client_name is a DNS name in lower case, such as client.tf-serving.service.com."
  }
}

variable "additional_client_names" {
  description = "DNS names of further clients; each has a certificate and key of its own, and can be left out again alone."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for n in var.additional_client_names : can(regex("^[^ :/@A-Z]+$", n)) && n != var.client_name])
    error_message = "additional_client_names are DNS names in lower case, other than client_name, which has a certificate already."
  }
}

variable "certificates" {
  description = "Algorithm of the keys (`ecdsa-p256`, `rsa-3072`, `rsa-4096`), lifetimes in hours, and the step of a change of the authority (`none`, `trust_next`, `use_next`). Null: what `cc_tls_materials` does by default."
  type = object({
    key_algorithm            = optional(string)
    validity_period_hours    = optional(number)
    early_renewal_hours      = optional(number)
    ca_validity_period_hours = optional(number)
    ca_rotation              = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.certificates.key_algorithm == null || contains(["ecdsa-p256", "rsa-3072", "rsa-4096"], coalesce(var.certificates.key_algorithm, "-"))
    error_message = "certificates.key_algorithm is \"ecdsa-p256\", \"rsa-3072\" or \"rsa-4096\"."
  }

  validation {
    condition     = var.certificates.validity_period_hours == null || var.certificates.early_renewal_hours == null || try(var.certificates.early_renewal_hours < var.certificates.validity_period_hours, false)
    error_message = "certificates.early_renewal_hours is not less than validity_period_hours, so that every apply would renew: name fewer hours."
  }
}

# What becomes of it.

variable "on_destroy" {
  description = "What a destroy does with the wrap key and the private keys: `keep` leaves the files, `delete` deletes them, and with the wrap key the only way to open what it encrypted."
  type        = string
  default     = "keep"
  nullable    = false

  validation {
    condition     = contains(["keep", "delete"], var.on_destroy)
    error_message = "on_destroy is \"keep\" or \"delete\"."
  }
}

variable "on_missing" {
  description = "What missing files mean: `recreate` makes them again (a wrap key never), `ignore` takes them for kept on another machine, as on a CI runner without a disk of its own."
  type        = string
  default     = "recreate"
  nullable    = false

  validation {
    condition     = contains(["recreate", "ignore"], var.on_missing)
    error_message = "on_missing is \"recreate\" or \"ignore\"."
  }

  validation {
    condition     = var.on_missing != "ignore" || var.wrap_key_version == null
    error_message = "on_missing = \"ignore\" needs a key file, by which machines recognise each other's models: use wrap_key_file, or on_missing = \"recreate\"."
  }
}
