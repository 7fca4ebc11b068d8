resource "cc_tls_materials" "serving" {
  directory    = "ssl_configure"
  server_names = ["grpc.tf-serving.service.com"]
}
