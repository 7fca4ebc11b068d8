variable "signer" {
  description = "Our public key: openssl rsa -in enclave-key.pem -pubout"
  type        = string
}

data "cc_sigstruct" "serving" {
  file = "${path.module}/tensorflow_model_server.sig"

  lifecycle {
    postcondition {
      condition     = !self.allows_debug
      error_message = "A debugger could read the wrap key out of this enclave."
    }
    postcondition {
      condition     = self.mr_signer == provider::cc::mrsigner(var.signer)
      error_message = "The enclave is not signed by us."
    }
  }
}

# The rule of a cc_key_server that releases the key to this enclave.
locals {
  rule = {
    name       = "tf-serving on gramine"
    mr_enclave = [data.cc_sigstruct.serving.mr_enclave]
    mr_signer  = [data.cc_sigstruct.serving.mr_signer]
    tcb        = { accept = ["UpToDate"] }
    secret     = "resnet50"
  }
}
