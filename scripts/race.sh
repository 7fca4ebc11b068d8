#!/bin/sh
# Runs go test with the given arguments under the race detector, which needs a
# C compiler; without one it is skipped with the reason, unless CC_REQUIRE_ALL=1.
set -eu
if ! command -v "${CC:-cc}" >/dev/null 2>&1; then
	if [ "${CC_REQUIRE_ALL:-}" = 1 ]; then
		echo "race: no C compiler, and CC_REQUIRE_ALL=1 allows no skips" >&2
		exit 1
	fi
	echo "race: skipped: the race detector needs a C compiler, and ${CC:-cc} is not on PATH"
	exit 0
fi
CGO_ENABLED=1 exec go test -race -vet=off -ldflags=-w -timeout=20m "$@"
