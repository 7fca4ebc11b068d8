# Every Gramine opens format 1, only 1.9 and later format 2.
output "needs_gramine_1_9" {
  value = provider::cc::pf_info(filebase64("upload/models/resnet50/1/saved_model.pb")).format == 2
}
