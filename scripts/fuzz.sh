#!/bin/sh
# Runs every fuzz target for the given time each. Seeds of some kilobytes would
# otherwise spend all of it being minimised.
set -eu
time=${1:?usage: fuzz.sh DURATION}
found=0
for pkg in $(go list ./...); do
	targets=$(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true)
	for target in $targets; do
		found=$((found + 1))
		echo "fuzz: $pkg $target ($time)"
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=10x "$pkg"
	done
done
if [ "$found" -eq 0 ]; then
	echo "fuzz: no fuzz target found" >&2
	exit 1
fi
echo "fuzz: $found targets"
