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
}

variable "private_key_file" {
  description = "Private key to log in with. Null: the keys of the SSH agent."
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
}

variable "mr_signer" {
  description = "MRSIGNER of the serving enclave."
  type        = string
}
