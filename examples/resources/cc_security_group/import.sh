# By the group's id. Every ingress rule of the group becomes the resource's own.
terraform import cc_security_group.client sg-2ze3xxmsh1example
