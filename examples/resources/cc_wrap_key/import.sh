# By the path of a file with the 16 bytes of the key.
terraform import cc_wrap_key.resnet keys/resnet.key
