
terraform {
  required_providers {
    cc = { source = "ccctl/cc" }
  }
}

resource "cc_key_server" "test" {
  host       = { local = {} }
  runtime    = "process"
  directory  = "@DIR@/server"
  ccctl_path = "@CCCTL@"
  listen     = "127.0.0.1:0"
  tls        = { certificate = "@DIR@/server.pem", private_key = "@DIR@/server-key.pem" }
  collateral = { url = "https://127.0.0.1:1/", max_age = "24h" }
  secrets    = [{ name = "model", file = "@DIR@/wrap.key" }]
  rules = [{
    name       = "first"
    mr_enclave = ["7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d"]
    tcb        = { accept = ["UpToDate"], accept_advisories = ["INTEL-SA-00615"] }
    secret     = "model"
  }]

}
