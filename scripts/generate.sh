#!/bin/sh
# Writes the generated documentation under docs/ and formats the examples.
set -eu
terraform fmt -recursive examples modules >/dev/null
exec go tool -modfile=tools/go.mod tfplugindocs generate --provider-name cc --rendered-provider-name "Confidential Computing"
