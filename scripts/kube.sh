#!/bin/sh
# Holds the Helm chart against a real Kubernetes API server, with etcd, on
# loopback: no cluster, no container. Both are built from the Go module proxy
# into KUBE_DIR, some eight minutes of processor time, and kept there for the
# next time.
set -eu
kubernetes=1.37.2
etcd=3.7.3
dir=${KUBE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ccctl-kube}
root=$(cd "$(dirname "$0")/.." && pwd)
export CGO_ENABLED=0 GOFLAGS=-mod=mod

# module DIR: an empty module of our own.
module() {
	rm -rf "$1"
	mkdir -p "$1"
	printf 'module scratch\n\ngo 1.26.0\n' >"$1/go.mod"
}

mkdir -p "$dir"
if [ ! -x "$dir/etcd-$etcd" ]; then
	# 'go install' refuses it: it replaces modules by parts of itself.
	module "$dir/src"
	cat >"$dir/src/main.go" <<-'EOF'
		package main

		import (
			"os"

			"go.etcd.io/etcd/server/v3/etcdmain"
		)

		func main() { etcdmain.Main(os.Args) }
	EOF
	(cd "$dir/src" && go get "go.etcd.io/etcd/server/v3@v$etcd" && go build -trimpath -ldflags='-s -w' -o "$dir/etcd-$etcd.new" .)
	mv "$dir/etcd-$etcd.new" "$dir/etcd-$etcd"
fi
if [ ! -x "$dir/kube-apiserver-$kubernetes" ]; then
	# Its own parts are modules too, under a version of their own; it names them as v0.0.0.
	module "$dir/src"
	(
		cd "$dir/src"
		mod=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
		sed -n -e 's/ *\/\/.*//' -e 's/^\t\(k8s\.io\/[a-z0-9-]*\) v0\.0\.0$/\1/p' "$mod" | sort -u | while read -r part; do
			go mod edit -replace "$part=$part@v0.${kubernetes#1.}"
		done
		go mod edit -require "k8s.io/kubernetes@v$kubernetes"
		go build -trimpath -ldflags='-s -w' -o "$dir/kube-apiserver-$kubernetes.new" k8s.io/kubernetes/cmd/kube-apiserver
	)
	mv "$dir/kube-apiserver-$kubernetes.new" "$dir/kube-apiserver-$kubernetes"
fi
rm -rf "$dir/src"
export GOFLAGS=
exec go test -C "$root/deploy/charttest" -count=1 -v -run='^TestAPIServer$' . -etcd="$dir/etcd-$etcd" -kube-apiserver="$dir/kube-apiserver-$kubernetes"
