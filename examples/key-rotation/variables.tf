variable "directory" {
  description = "Folder of everything that is made."
  type        = string
  default     = "rotation"
}

variable "generations" {
  description = "Live generations of the wrap key, the oldest first. Enclaves are started with the last."
  type        = list(string)
  default     = ["g1"]

  validation {
    condition     = length(var.generations) > 0 && alltrue([for g in var.generations : can(regex("^[a-z0-9-]{1,63}$", g))])
    error_message = "Name at least one generation, each a label of a DNS name: lower-case letters, digits and hyphens."
  }
}

variable "model" {
  description = "The model in plaintext."
  type        = string
}

variable "mr_enclave" {
  description = "MRENCLAVE of the enclaves that may have a key. Each generation's manifest gives another one."
  type        = list(string)
}

variable "listen" {
  description = "Where the key server listens."
  type        = string
  default     = ":4433"
}

variable "collateral_bundle" {
  description = "Collateral in a file, as ccctl collateral fetch writes it."
  type        = string
}

variable "trusted_root" {
  description = "Root of a simulated platform; null for Intel's."
  type        = string
  default     = null
}
