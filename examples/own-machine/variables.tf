variable "machine" {
  description = "Address of the machine, host or host:port of its SSH server."
  type        = string
}

variable "user" {
  description = "User to log in as; one that is not root needs sudo without a password."
  type        = string
  default     = "root"
}

variable "host_keys" {
  description = "Public keys of the machine: the content of its /etc/ssh/ssh_host_ed25519_key.pub."
  type        = list(string)

  validation {
    condition     = length(var.host_keys) > 0
    error_message = "At least one is needed: nothing is trusted on first use."
  }
}

variable "serving_machine" {
  description = "Address of the enclave's machine, host or host:port of its SSH server."
  type        = string
}

variable "serving_user" {
  description = "User to log in as there; one that is not root needs sudo without a password."
  type        = string
  default     = "root"
}

variable "serving_host_keys" {
  description = "Public keys of the enclave's machine."
  type        = list(string)

  validation {
    condition     = length(var.serving_host_keys) > 0
    error_message = "At least one is needed: nothing is trusted on first use."
  }
}

variable "serving_directory" {
  description = "Directory there that gets the encrypted files."
  type        = string
  default     = "/srv/serving"
}

variable "private_key_file" {
  description = "Private key to log in with, on both machines. Null: the keys of the SSH agent."
  type        = string
  default     = null
}

variable "ccctl_path" {
  description = "The released ccctl for linux/amd64. Null: the one beside the provider, or on PATH."
  type        = string
  default     = null
}

variable "server_name" {
  description = "Name by which enclaves know the key server."
  type        = string
  default     = "attestation.service.com"
}

variable "model" {
  description = "File to be encrypted, such as a saved_model.pb."
  type        = string
}

variable "enclave_path" {
  description = "Path of the file as the enclave opens it, spelt as in the manifest."
  type        = string
  default     = "models/resnet50-v15-fp32/1/saved_model.pb"
}

variable "region" {
  description = "Region of the vSGX machine, whose collateral service is asked."
  type        = string
  default     = "cn-beijing"
}

variable "mr_enclave" {
  description = "MRENCLAVE of the serving enclave (ccctl sigstruct inspect prints it)."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-fA-F]{64}$", var.mr_enclave))
    error_message = "It has 64 hex digits."
  }
}

variable "mr_signer" {
  description = "MRSIGNER of the serving enclave."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-fA-F]{64}$", var.mr_signer))
    error_message = "It has 64 hex digits."
  }
}
