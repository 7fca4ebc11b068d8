# Each validation fails here, by itself where a variable has several. Terraform
# does not examine a variable whose validations look at one that failed.

variables {
  directory    = "run"
  graph        = "../../examples/quickstart/model/digits.pb"
  model_name   = "digits"
  server_names = ["grpc.tf-serving.service.com"]
}

run "values" {
  command = plan

  variables {
    directory           = "run/"
    graph_sha256        = "9f86d0"
    inputs              = []
    outputs             = []
    model_name          = "a/b"
    model_version       = 1.5
    enclave_models_path = "file:models"
    format              = 3
    wrap_key            = "secret"
    server_names        = []
    client_name         = "client:8500"
    certificates        = { key_algorithm = "rsa-1024" }
    on_destroy          = "shred"
  }

  expect_failures = [
    var.directory, var.graph_sha256, var.inputs, var.outputs, var.model_name, var.model_version, var.enclave_models_path, var.format, var.wrap_key,
    var.server_names, var.client_name, var.certificates, var.on_destroy,
  ]
}

run "more_values" {
  command = plan

  variables {
    graph                   = "http://models.example.com/digits.pb"
    enclave_ssl_config_path = "../ssl.cfg"
    wrap_key_file           = "keys/"
    additional_client_names = ["Other.example.com"]
    on_missing              = "error"
  }

  expect_failures = [var.graph, var.enclave_ssl_config_path, var.wrap_key_file, var.additional_client_names, var.on_missing]
}

run "combinations" {
  command = plan

  variables {
    graph                   = "https://models.example.com/digits.pb"
    enclave_ssl_config_path = "models/digits/ssl.cfg"
    wrap_key_file           = "keys/wrap-key"
    wrap_key                = "00112233445566778899aabbccddeeff"
    wrap_key_version        = 1
    server_names            = ["https://grpc.tf-serving.service.com"]
    certificates            = { validity_period_hours = 24, early_renewal_hours = 24 }
    on_missing              = "ignore"
  }

  expect_failures = [var.graph, var.enclave_ssl_config_path, var.wrap_key_file, var.server_names, var.certificates, var.on_missing]
}

run "no_key" {
  command = plan

  variables {
    create_wrap_key = false
  }

  expect_failures = [var.create_wrap_key]
}

run "a_key_without_its_number" {
  command = plan

  variables {
    wrap_key = "00112233445566778899aabbccddeeff"
  }

  expect_failures = [var.wrap_key_version]
}

run "a_name_twice" {
  command = plan

  variables {
    server_names            = ["grpc.tf-serving.service.com", "grpc.tf-serving.service.com"]
    client_name             = "client.tf-serving.service.com"
    additional_client_names = ["client.tf-serving.service.com"]
  }

  expect_failures = [var.server_names, var.additional_client_names]
}
