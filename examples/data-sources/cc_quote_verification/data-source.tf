data "cc_quote_verification" "serving" {
  file       = "${path.module}/serving.quote"
  collateral = { region = "cn-beijing" }

  lifecycle {
    postcondition {
      condition     = !self.debug && self.mr_enclave == data.cc_sigstruct.serving.mr_enclave
      error_message = "The quote is of another enclave than the one that was signed."
    }
    postcondition {
      # The best status that Ice Lake, and so Alibaba Cloud's g7t, c7t and r7t, has today.
      condition     = contains(["UpToDate", "SWHardeningNeeded"], self.tcb_status) && setsubtract(self.advisories, ["INTEL-SA-00615"]) == toset([])
      error_message = "The platform needs an update: ${self.tcb_status} for ${join(", ", self.advisories)}."
    }
    postcondition {
      condition     = timecmp(self.earliest_expiry, timeadd(plantimestamp(), "24h")) > 0
      error_message = "The ${self.earliest_expiry_of} expires at ${self.earliest_expiry}: refresh the collateral."
    }
  }
}

data "cc_sigstruct" "serving" {
  file = "${path.module}/tensorflow_model_server.sig"
}
