# By the machine and the directory there. Without known_hosts or host_key the user's own known_hosts file is taken, and
# without private_key_file the keys of the SSH agent.
terraform import cc_artifact_upload.serving 'ssh://root@192.0.2.7/srv/serving?known_hosts=known_hosts'

# Or a directory of this machine.
terraform import cc_artifact_upload.serving /srv/serving
