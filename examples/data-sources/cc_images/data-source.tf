# Images that a vSGX machine boots.
data "cc_images" "vsgx" {
  family        = "acs:alibaba_cloud_linux_3_2104_uefi_x64"
  boot_mode     = "UEFI"
  instance_type = "ecs.g7t.large"
}

output "image" {
  value = data.cc_images.vsgx.images[0].id
}
