#!/bin/sh
# Makes what a release has beside its programs, in bin/release: manual pages,
# completions, and the program that makes the rest. GoReleaser calls it first.
set -eu
out=bin/release
rm -rf "$out"
mkdir -p "$out/completions"
# With the commit, so that the pages say the version that the programs say.
CGO_ENABLED=0 go build -trimpath -buildvcs=true -o "$out/" ./cmd/ccctl ./cmd/ccrelease
"$out/ccctl" completion bash >"$out/completions/ccctl.bash"
"$out/ccctl" completion zsh >"$out/completions/_ccctl"
"$out/ccctl" completion fish >"$out/completions/ccctl.fish"
"$out/ccctl" completion powershell >"$out/completions/ccctl.ps1"
"$out/ccctl" --quiet man "$out/man/man1"
