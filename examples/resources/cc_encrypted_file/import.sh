# The encrypted file is authenticated with the wrap key and adopted as it is.
terraform import cc_encrypted_file.model \
  '{"destination": "upload/models/resnet50/1/saved_model.pb", "source": "build/resnet50/1/saved_model.pb", "wrap_key_file": "keys/resnet50.key"}'
