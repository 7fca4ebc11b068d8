# By the path of the directory. What the tutorial's script made can be adopted,
# too: the next apply puts its certificates right under the same authority.
terraform import cc_tls_materials.serving plaintext/ssl_configure
