resource "cc_wrap_key" "resnet" {
  file = "${path.module}/keys/resnet.key"
}
