# By the directory of a key server that runs on this machine.
terraform import cc_key_server.attestation ./key-server
