# By the instance's id.
terraform import cc_client_instance.client i-2ze0vbqyj5dexample
