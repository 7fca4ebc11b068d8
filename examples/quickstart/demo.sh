#!/bin/sh
# The whole tutorial on one machine: convert a TensorFlow model, make the TLS
# materials, encrypt both for an enclave, start the key server, and let an
# enclave attest, fetch the wrap key and open the files. Terraform and the
# product are real; the SGX platform, its caching service and the enclaves are
# ccsim's. Everything happens in a temporary directory and is removed at the
# end; KEEP=1 keeps it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=${BIN:-$here/../../bin}
bin=$(cd "$bin" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/cc-demo.XXXXXX")
tf=$work/quickstart
platform=$work/platform
applied=
ccsim_pid=

# What the enclave image would measure to. For your own image,
# `ccctl sigstruct inspect` prints it from Gramine's .sig file.
mr_enclave=7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312
mr_signer=b11a6f0e5d4c3b2a19080716253443526170f8e9dacbbcad9e8f708192a3b4c5
other_enclave=0000000000000000000000000000000000000000000000000000000000000bad

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$(printf '\033[1m') dim=$(printf '\033[2m') green=$(printf '\033[32m') off=$(printf '\033[0m')
else
	bold='' dim='' green='' off=''
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
ok() { printf '%sok%s  %s\n' "$green" "$off" "$*"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$off"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
terraform() { command terraform -chdir="$tf" "$@"; }

cleanup() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$applied" ]; then
		terraform destroy -auto-approve -no-color >"$work/destroy.log" 2>&1 || cat "$work/destroy.log" >&2
	fi
	if [ -n "$ccsim_pid" ]; then
		kill "$ccsim_pid" 2>/dev/null || true
		wait "$ccsim_pid" 2>/dev/null || true
	fi
	if [ -n "${KEEP:-}" ]; then
		echo "kept: $work"
	else
		cd / && rm -rf "$work"
	fi
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

command -v terraform >/dev/null || fail "terraform is not on PATH; it is the one thing this demo cannot bring (>= 1.11)"
for tool in ccctl ccsim terraform-provider-cc; do
	[ -x "$bin/$tool" ] || fail "$bin/$tool is missing: run 'make build' first"
done

say "1. Around us: an SGX platform and the caching service for its collateral (both simulated)"
show ccsim pccs --platform platform
"$bin/ccsim" pccs --platform "$platform" --ready-file "$work/pccs.url" >/dev/null 2>"$work/pccs.log" &
ccsim_pid=$!
tries=0
until [ -s "$work/pccs.url" ]; do
	kill -0 "$ccsim_pid" 2>/dev/null || { cat "$work/pccs.log" >&2; fail "ccsim ended"; }
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || fail "ccsim is not ready after 30 s; its log is $work/pccs.log"
	sleep 0.1
done
"$bin/ccsim" root --platform "$platform" -o "$work/root.pem"
ok "collateral is served at $(cat "$work/pccs.url")"

say "2. One apply: wrap key, SavedModel, certificates, encrypted files, key server"
mkdir "$tf"
cp -R "$here"/*.tf "$here/model" "$tf/"
mirror=$work/providers/registry.terraform.io/ccctl/cc/0.1.0/$(go env GOOS)_$(go env GOARCH)
mkdir -p "$mirror"
cp "$bin/terraform-provider-cc" "$mirror/terraform-provider-cc_v0.1.0"
cat >"$work/terraformrc" <<EOF
provider_installation {
  filesystem_mirror {
    path = "$work/providers"
  }
}
EOF
export TF_CLI_CONFIG_FILE="$work/terraformrc" TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
export PATH="$bin:$PATH" # where the provider looks for ccctl
cat >"$tf/demo.auto.tfvars" <<EOF
mr_enclave     = "$mr_enclave"
mr_signer      = "$mr_signer"
listen         = "127.0.0.1:0"
pccs_url       = "$(cat "$work/pccs.url")"
simulated_root = "$work/root.pem"
on_destroy     = "delete"
EOF
show terraform init
terraform init -no-color >"$work/init.log" 2>&1 || { cat "$work/init.log" >&2; fail "terraform init failed"; }
show terraform apply
applied=1
terraform apply -auto-approve -no-color >"$work/apply.log" 2>&1 || { cat "$work/apply.log" >&2; fail "terraform apply failed"; }
grep -E '(Creation complete|Apply complete)' "$work/apply.log" | sed 's/^/    /'

cd "$tf" # paths in the outputs are relative to the configuration
address=$(terraform output -raw key_server_address)
ca=$(terraform output -raw ca_certificate_file)
log=$(terraform output -raw key_server_log)
upload=$(terraform output -raw upload_directory)
model=work/plaintext/models/digits/1/saved_model.pb
ssl_config=work/plaintext/ssl_configure/ssl.cfg

say "3. What goes to the enclave host: encrypted files, bound to their path in the enclave"
show ccctl pf inspect -w work/keys/wrap-key "$upload/models/digits/1/saved_model.pb"
"$bin/ccctl" pf inspect -w work/keys/wrap-key "$upload/models/digits/1/saved_model.pb" | sed 's/^/    /'

# enclave ARG... plays an enclave against the key server.
enclave() {
	"$bin/ccsim" enclave --platform "$platform" --server "$address" --ca "$ca" --mrsigner "$mr_signer" "$@"
}

say "4. The enclave attests, receives the wrap key, and opens its files"
show ccsim enclave --mrenclave 7de5... --open saved_model.pb --open ssl.cfg
enclave --mrenclave "$mr_enclave" -o "$work/received-key" --extract "$work/enclave" \
	--open "$upload/models/digits/1/saved_model.pb=models/digits/1/saved_model.pb" \
	--open "$upload/ssl.cfg=ssl.cfg" | sed 's/^/    /'
cmp "$work/enclave/models/digits/1/saved_model.pb" "$model" || fail "the enclave does not see the converted model"
cmp "$work/enclave/ssl.cfg" "$ssl_config" || fail "the enclave does not see ssl.cfg"
ok "the enclave sees the converted model, byte for byte: $(wc -c <"$model" | tr -d ' ') bytes"
ok "the enclave sees ssl.cfg, byte for byte"

# refused LABEL REASON ARG... plays an enclave that must not get the key, and
# shows why the server said no.
refused() {
	label=$1 reason=$2
	shift 2
	before=$(wc -l <"$log")
	if enclave "$@" -o "$work/stolen-key" >"$work/refused.log" 2>&1; then
		fail "$label received the key"
	fi
	[ ! -e "$work/stolen-key" ] || fail "$label left a key"
	line=$(tail -n +$((before + 1)) "$log" | grep 'msg=refused' | tail -n 1)
	case $line in
	*"$reason"*) ok "$label is refused: $(printf '%s' "$line" | sed 's/.*reasons="\(.*\)" [a-z_]*=.*/\1/; s/\\"/"/g')" ;;
	*) echo "$line" >&2; fail "$label was refused for another reason than $reason" ;;
	esac
}

say "5. Others attest too, and are refused"
refused "an enclave with another MRENCLAVE" mr_enclave --mrenclave "$other_enclave"
refused "a debug enclave" debug --mrenclave "$mr_enclave" --debug

say "6. Nothing has changed since the apply"
show terraform plan -detailed-exitcode
terraform plan -detailed-exitcode -no-color >"$work/plan.log" 2>&1 || { cat "$work/plan.log" >&2; fail "the plan is not empty"; }
ok "the plan is empty"
key=$(od -An -v -tx1 work/keys/wrap-key | tr -d ' \n')
if grep -qi "$key" terraform.tfstate || grep -q 'PRIVATE KEY' terraform.tfstate; then
	fail "a secret is in the state"
fi
ok "no key is in the state"

# running PID tells whether a process is there and not merely waiting to be
# reaped by a parent that does not care.
running() {
	[ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 1
	[ ! -r "/proc/$1/stat" ] || ! grep -q '^[0-9]* (.*) Z ' "/proc/$1/stat"
}

say "7. Destroy leaves nothing behind"
pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' work/key-server/*.json | head -n 1)
running "$pid" || fail "the key server's process is not there to be stopped"
cp "$ca" "$work/ca.pem"
show terraform destroy
terraform destroy -auto-approve -no-color >"$work/destroy.log" 2>&1 || { cat "$work/destroy.log" >&2; fail "terraform destroy failed"; }
applied=
if running "$pid"; then
	fail "the key server (process $pid) still runs"
fi
if "$bin/ccctl" keyserver probe "$address" --ca "$work/ca.pem" >/dev/null 2>&1; then
	fail "something still answers at $address"
fi
ok "the key server has stopped"
rm -rf "$work/received-key" "$work/enclave" # the enclave's own copies
left=$(find work -type f 2>/dev/null || true)
for file in $left; do
	if grep -q 'PRIVATE KEY' "$file" || od -An -v -tx1 "$file" | tr -d ' \n' | grep -qi "$key"; then
		fail "$file still holds a secret"
	fi
done
ok "no secret is left${left:+; what remains: $(printf '%s' "$left" | tr '\n' ' ')}"

say "Done. The same configuration, with a PCCS of your region and your enclave's measurements, is examples/quickstart."
