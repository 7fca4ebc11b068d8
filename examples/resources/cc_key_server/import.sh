# By the directory of a key server that runs on this machine as a process.
terraform import cc_key_server.attestation ./key-server

# By the name of its container on this machine.
terraform import cc_key_server.attestation docker:cc-key-server

# By machine and container. The parameters are known_hosts or host_key (any
# number of them), private_key_file and sudo=true.
terraform import cc_key_server.attestation 'ssh://root@192.0.2.7/cc-key-server?known_hosts=known_hosts'
