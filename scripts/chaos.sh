#!/bin/sh
# Runs the tests that docs/guides/fault-day.md names, with more rounds than they have otherwise.
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC2016 # backquotes are what is looked for
tests=$(grep -oE '`Test[A-Z][A-Za-z0-9]*`' docs/guides/fault-day.md | tr -d '`' | sort -u)
pattern="^($(echo "$tests" | paste -sd '|' -))\$"
packages=$(grep -rlE "^func ($(echo "$tests" | paste -sd '|' -))\(t " --include='*_test.go' internal cmd | xargs -n1 dirname | sort -u | sed 's|^|./|')
# shellcheck disable=SC2086 # one argument a package
CC_CHAOS=1 exec go test -count=1 -timeout=10m -run "$pattern" ./internal/testfault $packages
