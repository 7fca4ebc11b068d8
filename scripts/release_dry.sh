#!/bin/sh
# Makes a release of the commit that is checked out, publishes nothing, and
# checks it; then makes it a second time, in another folder, and compares: the
# same commit and toolchain give the same bytes. The files are left in
# bin/release-VERSION. VERSION is 0.0.0-dry.1 unless the environment says
# otherwise.
set -eu
version=${VERSION:-0.0.0-dry.1}
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# GORELEASER names one that is there already; it takes minutes to build.
goreleaser=${GORELEASER:-$work/goreleaser}
[ -n "${GORELEASER:-}" ] || go build -modfile="$root/tools/release/go.mod" -o "$goreleaser" github.com/goreleaser/goreleaser/v2

# A clone has nothing but what is committed, and can be given a tag.
release() {
	git clone --quiet --no-local "$root" "$work/$1"
	cd "$work/$1"
	git tag "v$version"
	"$goreleaser" release --clean --skip=publish,announce,sign
	mkdir "$work/$1.files"
	sums=dist/terraform-provider-cc_${version}_SHA256SUMS
	cp "$sums" dist/*.zip dist/*.tar.gz dist/*.spdx.json bin/release/cc-key-server_*.tar "$work/$1.files/"
	cp terraform-registry-manifest.json "$work/$1.files/terraform-provider-cc_${version}_manifest.json"
	bin/release/ccrelease check "$work/$1.files" "$version"
	cd "$root"
}

release first
release second-in-a-longer-folder
if ! diff -r "$work/first.files" "$work/second-in-a-longer-folder.files"; then
	echo "release: two releases of one commit differ" >&2
	exit 1
fi
rm -rf "bin/release-$version"
mkdir -p bin
mv "$work/first.files" "bin/release-$version"
echo "release: bin/release-$version, the same twice:"
cat "bin/release-$version/terraform-provider-cc_${version}_SHA256SUMS"
