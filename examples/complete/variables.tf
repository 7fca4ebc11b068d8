# The account.

variable "region" {
  description = "Region of everything, such as cn-beijing; also the one whose collateral service is asked."
  type        = string
  default     = "cn-beijing"
}

variable "vpc_id" {
  description = "VPC that the machine with SGX is in."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "It starts with vpc-."
  }
}

variable "vswitch_id" {
  description = "vSwitch of that VPC for the client machine."
  type        = string

  validation {
    condition     = startswith(var.vswitch_id, "vsw-")
    error_message = "It starts with vsw-."
  }
}

variable "key_name" {
  description = "Key pair for SSH to the client machine. Its private half is in ssh_private_key_file, or with the SSH agent."
  type        = string
}

variable "operator_cidrs" {
  description = "Networks that Terraform runs in: they reach SSH and the key server of the client machine."
  type        = list(string)

  validation {
    condition     = length(var.operator_cidrs) > 0 && alltrue([for c in var.operator_cidrs : can(cidrhost(c, 0)) && !endswith(c, "/0")])
    error_message = "At least one CIDR block is needed, and not the whole internet: your own address with /32 will do."
  }
}

variable "enclave_cidrs" {
  description = "Networks that enclaves come from, such as the vSwitch of the machine with SGX."
  type        = list(string)

  validation {
    condition     = alltrue([for c in var.enclave_cidrs : can(cidrhost(c, 0))])
    error_message = "They are CIDR blocks, such as 172.16.0.0/24."
  }
}

variable "ssh_private_key_file" {
  description = "Private key to log in with, on both machines. Null: the keys of the SSH agent."
  type        = string
  default     = null
}

variable "ssh_port" {
  description = "Port of SSH on the client machine."
  type        = number
  default     = 22
}

# The machine with SGX, which exists already.

variable "serving_machine" {
  description = "Its address for SSH, host or host:port."
  type        = string
}

variable "serving_user" {
  description = "User to log in as there; one that is not root needs sudo without a password."
  type        = string
  default     = "root"
}

variable "serving_host_keys" {
  description = "Its SSH host keys: the content of /etc/ssh/ssh_host_ed25519_key.pub there, read on its own console."
  type        = list(string)

  validation {
    condition     = length(var.serving_host_keys) > 0
    error_message = "At least one is needed: nothing is trusted on first use."
  }
}

variable "serving_directory" {
  description = "Directory there that gets models/ and ssl.cfg."
  type        = string
  default     = "/srv/serving"
}

# The enclave.

variable "mr_enclave" {
  description = "MRENCLAVE of the serving enclave, 64 hex digits (ccctl sigstruct inspect prints it from Gramine's .sig file)."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-fA-F]{64}$", var.mr_enclave))
    error_message = "It has 64 hex digits."
  }
}

variable "mr_signer" {
  description = "MRSIGNER of the serving enclave, 64 hex digits."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-fA-F]{64}$", var.mr_signer))
    error_message = "It has 64 hex digits."
  }
}

variable "tcb_accept" {
  description = "States of the platform that are good enough, in Intel's words. Ice Lake, which Alibaba Cloud's vSGX families are, has no better one than SWHardeningNeeded."
  type        = list(string)
  default     = ["UpToDate", "SWHardeningNeeded"]
}

variable "tcb_advisories" {
  description = "Security advisories that may be open on the platform."
  type        = list(string)
  default     = ["INTEL-SA-00615"]
}

# The model.

variable "graph" {
  description = "The frozen graph (.pb) to serve."
  type        = string
}

variable "model_name" {
  description = "Name of the model, as clients ask for it."
  type        = string
  default     = "resnet50-v15-fp32"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*$", var.model_name))
    error_message = "It is part of a path: letters, digits, periods, underscores and hyphens."
  }
}

variable "inputs" {
  description = "Input tensors of the graph (ccctl model inspect lists them)."
  type        = list(string)
  default     = ["input"]
}

variable "outputs" {
  description = "Output tensors of the graph."
  type        = list(string)
  default     = ["predict"]
}

# Names.

variable "serving_name" {
  description = "Name in TensorFlow Serving's certificate."
  type        = string
  default     = "grpc.tf-serving.service.com"
}

variable "client_name" {
  description = "Name in the certificate of its clients."
  type        = string
  default     = "client.tf-serving.service.com"
}

variable "attestation_name" {
  description = "Name by which enclaves know the key server (SECRET_PROVISION_SERVERS); /etc/hosts of their machine may lead it to the client machine's private address."
  type        = string
  default     = "attestation.service.com"
}

# Where things are made, and what becomes of them.

variable "directory" {
  description = "Directory here: keys/, plaintext/, attestation/, and upload/, which the machine with SGX gets."
  type        = string
  default     = "work"
}

variable "key_server_directory" {
  description = "Directory of the key server on the client machine."
  type        = string
  default     = "/var/lib/cc-key-server"
}

variable "listen" {
  description = "Address the key server listens on."
  type        = string
  default     = ":4433"
}

variable "ccctl_path" {
  description = "The released ccctl for linux/amd64, of which the key server's image is made. Null: the one beside the provider, or on PATH."
  type        = string
  default     = null
}

variable "on_destroy" {
  description = "What destroy does with keys: \"keep\" them, or \"delete\" them."
  type        = string
  default     = "keep"

  validation {
    condition     = contains(["keep", "delete"], var.on_destroy)
    error_message = "It is \"keep\" or \"delete\"."
  }
}

variable "collateral_bundle" {
  description = "File with collateral (ccctl collateral fetch), for a client machine that reaches no service. Null: the service of the region."
  type        = string
  default     = null
}

variable "simulated_root" {
  description = "Root certificate (PEM file) of a simulated SGX platform. Leave it null for real enclaves: Intel's root is built in."
  type        = string
  default     = null
}
