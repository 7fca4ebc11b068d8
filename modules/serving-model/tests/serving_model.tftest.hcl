variables {
  directory    = "other"
  graph        = "../../examples/quickstart/model/digits.pb"
  model_name   = "digits"
  server_names = ["grpc.tf-serving.service.com"]
}

run "key_in_a_file" {
  module {
    source = "./tests/composed"
  }

  assert {
    condition     = toset(keys(output.model.upload_files)) == toset(["models/digits/1/saved_model.pb", "ssl.cfg"])
    error_message = "The enclave's machine would get ${jsonencode(output.model.upload_files)}."
  }

  assert {
    condition     = output.model.model_path == "models/digits" && output.model.ssl_config_path == "ssl.cfg" && toset(keys(output.model.upload_triggers)) == toset(["models/digits/1/saved_model.pb", "ssl.cfg"])
    error_message = "The enclave opens other paths: ${jsonencode(output.model)}."
  }

  assert {
    condition     = output.opened.authenticated == "everything" && output.opened.key_id == output.model.wrap_key_id && output.model.wrap_key_file == "run/keys/wrap-key"
    error_message = "The model is not encrypted under the key in ${output.model.wrap_key_file}: ${jsonencode(output.opened)}."
  }

  assert {
    condition     = output.opened_ssl_config.authenticated == "everything" && output.opened_ssl_config.key_id == output.model.wrap_key_id
    error_message = "ssl.cfg is not encrypted under the key in ${output.model.wrap_key_file}: ${jsonencode(output.opened_ssl_config)}."
  }

  assert {
    condition     = length(setintersection(["certificates/ssl.cfg", "certificates/server/key.pem"], fileset(dirname(dirname(output.model.wrap_key_file)), "**"))) == 0
    error_message = "The server's private key is on the disk in clear: ${jsonencode(fileset("run", "**"))}."
  }

  assert {
    condition     = contains(fileset(dirname(dirname(output.model.wrap_key_file)), "**"), "certificates/ca_key.pem")
    error_message = "The keys are elsewhere than this test looks: ${jsonencode(fileset("run", "**"))}."
  }

  assert {
    condition     = output.model.client_certificate_file == "run/certificates/client/cert.pem" && output.model.signature.inputs[0].key == "input"
    error_message = "The client is told of ${output.model.client_certificate_file} and the input ${jsonencode(output.model.signature.inputs)}."
  }
}

run "nothing_to_do_again" {
  command = plan

  module {
    source = "./tests/composed"
  }

  assert {
    condition     = output.model == run.key_in_a_file.model
    error_message = "A second plan changes something."
  }
}

run "ephemeral_key" {
  command = plan

  variables {
    wrap_key         = "00112233445566778899aabbccddeeff"
    wrap_key_version = 1
  }

  assert {
    condition     = length(cc_wrap_key.model) == 0 && output.wrap_key_file == null && cc_encrypted_file.model["saved_model.pb"].wrap_key_file == null
    error_message = "A key file is planned beside the ephemeral key."
  }

  assert {
    condition     = cc_encrypted_file.model["saved_model.pb"].wrap_key_wo == null && cc_encrypted_file.model["saved_model.pb"].wrap_key_wo_version == 1
    error_message = "The model is not encrypted under the ephemeral key, or the key is in the plan."
  }

  assert {
    condition     = cc_tls_materials.serving.encrypted_ssl_config.wrap_key_wo_version == 1 && output.client_certificate_file == null
    error_message = "With one-way TLS there is no ssl.cfg, or there is a client."
  }
}

run "another_models_key" {
  command = plan

  variables {
    create_wrap_key     = false
    wrap_key_file       = "run/keys/wrap-key"
    enclave_models_path = "/srv/models"
    model_version       = 3
    on_missing          = "ignore"
  }

  assert {
    condition     = length(cc_wrap_key.model) == 0 && cc_saved_model.model.digest_key_file == "run/keys/wrap-key"
    error_message = "Another key is planned, or the model's digest is keyed by another one."
  }

  assert {
    condition     = cc_encrypted_file.model["saved_model.pb"].destination == "other/encrypted/srv/models/digits/3/saved_model.pb" && cc_encrypted_file.model["saved_model.pb"].enclave_path == "/srv/models/digits/3/saved_model.pb"
    error_message = "The model is not where the enclave opens it: ${jsonencode(cc_encrypted_file.model)}."
  }
}

run "a_saved_model_as_it_is" {
  command = plan

  variables {
    graph      = "run/plaintext/models/digits/1"
    model_name = "adopted"
  }

  assert {
    condition     = toset(keys(cc_encrypted_file.model)) == toset(["saved_model.pb"])
    error_message = "Its files are not encrypted one by one: ${jsonencode(keys(cc_encrypted_file.model))}."
  }
}
