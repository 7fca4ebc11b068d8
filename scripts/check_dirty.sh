#!/bin/sh
# Fails when generated files differ from what is committed.
set -eu
changes=$(git status --porcelain)
if [ -n "$changes" ]; then
	echo "Generated files are not up to date. Run 'make generate' and commit:" >&2
	echo "$changes" >&2
	git --no-pager diff >&2
	exit 1
fi
