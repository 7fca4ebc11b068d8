terraform {
  required_version = ">= 1.11"
  required_providers {
    cc = {
      source = "ccctl/cc"
    }
  }
}
