variable "machine" {
  description = "Address of the machine with the key server."
  type        = string
}

# Read at every plan and apply: a server that has stopped, or whose certificate
# expires within a month, is a warning and no obstacle.
check "key_server" {
  data "cc_key_server_status" "attestation" {
    host = {
      ssh = {
        address     = var.machine
        known_hosts = pathexpand("~/.ssh/known_hosts")
      }
    }
  }

  assert {
    condition     = data.cc_key_server_status.attestation.state == "ready"
    error_message = "The key server is ${data.cc_key_server_status.attestation.state}: ${coalesce(data.cc_key_server_status.attestation.reason, "no reason is given")}."
  }

  assert {
    condition     = coalesce(data.cc_key_server_status.attestation.certificate_expires_in, 0) > 30 * 24 * 3600
    error_message = "The key server's certificate has less than 30 days left."
  }
}
