variable "directory" {
  description = "Where everything is made: keys/, plaintext/, upload/ (what the enclave host gets) and key-server/."
  type        = string
  default     = "work"
}

variable "mr_enclave" {
  description = "MRENCLAVE of the serving enclave, 64 hex digits (ccctl sigstruct inspect prints it)."
  type        = string
}

variable "mr_signer" {
  description = "MRSIGNER of the serving enclave, 64 hex digits."
  type        = string
}

variable "attestation_names" {
  description = "Names and addresses under which enclaves reach the key server."
  type        = list(string)
  default     = ["attestation.service.com", "localhost", "127.0.0.1"]
}

variable "listen" {
  description = "Address the key server listens on."
  type        = string
  default     = ":4433"
}

variable "pccs_url" {
  description = "Caching service that collateral comes from."
  type        = string
}

variable "simulated_root" {
  description = "Root certificate (PEM file) of a simulated SGX platform. Leave it null for real enclaves: Intel's root is built in."
  type        = string
  default     = null
}

variable "on_destroy" {
  description = "What destroy does with keys: \"keep\" them, or \"delete\" them."
  type        = string
  default     = "keep"
}
