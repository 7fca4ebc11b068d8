# The key server, and the certificate by which enclaves know it.

locals {
  docker          = var.runtime == "docker"
  own_certificate = var.certificate == null

  tls = local.own_certificate ? {
    certificate = one(cc_tls_materials.attestation[*].server_certificate_file)
    private_key = one(cc_tls_materials.attestation[*].server_key_file)
  } : var.certificate

  restart_policy = coalesce(var.restart_policy, var.secrets_on_disk ? "unless-stopped" : "no")

  host = {
    local = var.host.local
    ssh = var.host.ssh == null ? null : {
      address          = var.host.ssh.address
      user             = var.host.ssh.user
      sudo             = var.host.ssh.user != "root"
      host_keys        = var.host.ssh.host_keys
      known_hosts      = var.host.ssh.known_hosts
      private_key_file = var.host.ssh.private_key_file
      jump             = var.host.ssh.jump
    }
  }
}

resource "cc_tls_materials" "attestation" {
  count = local.own_certificate ? 1 : 0

  directory             = var.tls_directory
  server_names          = var.server_names
  key_algorithm         = var.certificate_settings.key_algorithm
  validity_period_hours = var.certificate_settings.validity_period_hours
  early_renewal_hours   = var.certificate_settings.early_renewal_hours
  ca_rotation           = var.certificate_settings.ca_rotation
  on_destroy            = var.on_destroy
  on_missing            = var.on_missing
}

resource "cc_key_server" "attestation" {
  host = {
    local = local.host.local
    ssh = local.host.ssh == null ? null : {
      address                = local.host.ssh.address
      user                   = local.host.ssh.user
      sudo                   = local.host.ssh.sudo
      host_keys              = local.host.ssh.host_keys
      known_hosts            = local.host.ssh.known_hosts
      private_key_file       = local.host.ssh.private_key_file
      jump                   = local.host.ssh.jump
      private_key_wo         = var.ssh_private_key
      private_key_wo_version = var.ssh_private_key_version
    }
  }
  runtime   = var.runtime
  directory = var.directory
  listen    = var.listen
  tls       = local.tls

  ccctl_path      = var.program.path
  ccctl_url       = var.program.url
  ccctl_sha256    = var.program.sha256
  image           = var.program.image
  container_name  = local.docker ? var.container_name : null
  restart_policy  = local.docker ? local.restart_policy : null
  secrets_on_disk = local.docker ? var.secrets_on_disk : null
  probe           = local.docker ? var.probe : null

  collateral         = var.collateral
  allow_trusted_root = var.allow_trusted_root

  secrets = [for name, s in var.secrets : { name = name, file = s.file, encoding = s.encoding }]
  rules   = var.rules
  limits  = var.limits
  admin   = var.admin_listen == null ? null : { listen = var.admin_listen }

  # A certificate that this apply renews is served at the end of it.
  reload_triggers = merge(
    var.reload_triggers,
    local.own_certificate ? { certificate = one(cc_tls_materials.attestation[*].server_certificate_pem) } : {},
  )
  timeouts = var.timeouts
}
