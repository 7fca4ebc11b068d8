#!/bin/bash
# Prepares an Alibaba Cloud Linux 3 machine as the client of a confidential
# inference service: wget, git, python3-pip and Docker-CE, never podman-docker.
#
# It runs as root, as user data of cloud-init or through Cloud Assistant, and
# may run again at any time: a step that finds its work done does nothing.
#
# CC_BOOTSTRAP_USER names a login to put into the group docker, which makes it
# as powerful as root. CC_ROOT is put before the paths of files, for tests.
#
# Results: a line a step in /var/lib/cc-bootstrap/status
#   NAME <tab> ok|failed|running <tab> EXIT CODE <tab> SECONDS
# and everything that the steps print in /var/log/cc-bootstrap.log.
set -u
export LC_ALL=C PATH="${PATH:-/usr/sbin:/usr/bin:/sbin:/bin}"

root=${CC_ROOT:-}
user=${CC_BOOTSTRAP_USER:-}
pause=${CC_RETRY_SECONDS:-15}
state=$root/var/lib/cc-bootstrap
log=$root/var/log/cc-bootstrap.log
mirrors="https://mirrors.aliyun.com http://mirrors.cloud.aliyuncs.com"

say() { printf 'cc-bootstrap: %s\n' "$*"; }

# again repeats a command that may meet another package manager at work, or a
# mirror that does not answer.
again() {
	local try code=0
	for try in 1 2 3 4; do
		"$@" && return 0
		code=$?
		say "attempt $try of: $* ended with $code"
		sleep "$pause"
	done
	"$@"
}

install_packages() { again dnf -y --setopt=install_weak_deps=False install "$@"; }

installed() { rpm -q "$@" >/dev/null 2>&1; }

step_system() {
	local id version
	# shellcheck source=/dev/null
	id=$(. "$root/etc/os-release" && printf '%s' "${ID:-}") || return 1
	# shellcheck source=/dev/null
	version=$(. "$root/etc/os-release" && printf '%s' "${VERSION_ID:-}")
	case $id/$version in
	alinux/3 | alinux/3.*) ;;
	*)
		say "this is $id $version; Alibaba Cloud Linux 3 is needed, from image family acs:alibaba_cloud_linux_3_2104_lts_x64"
		return 64
		;;
	esac
	if [ "$(id -u)" != 0 ]; then
		say "root is needed, and this is user $(id -u)"
		return 77
	fi
}

step_base_packages() {
	installed wget git python3-pip || install_packages wget git python3-pip
}

# podman-docker puts a docker command in place that has no daemon and no group,
# and conflicts with docker-ce.
step_no_podman_docker() {
	if installed podman-docker; then
		again dnf -y remove podman-docker || return
	fi
	if command -v docker >/dev/null 2>&1 && docker --version 2>&1 | grep -qi podman; then
		say "the docker command is still podman's, and belongs to no package podman-docker: remove it by hand"
		return 65
	fi
}

fetch_repository() {
	local mirror file=$root/etc/yum.repos.d/docker-ce.repo
	for mirror in $mirrors; do
		if wget -q --timeout=20 --tries=2 -O "$file.new" "$mirror/docker-ce/linux/centos/docker-ce.repo" && [ -s "$file.new" ]; then
			sed -i "s|https://mirrors.aliyun.com|$mirror|g; s|https://download.docker.com|$mirror/docker-ce|g" "$file.new" &&
				mv -f "$file.new" "$file"
			return
		fi
		say "no answer from $mirror"
	done
	rm -f "$file.new"
	return 69
}

step_docker_repository() {
	mkdir -p "$root/etc/yum.repos.d"
	[ -s "$root/etc/yum.repos.d/docker-ce.repo" ] || again fetch_repository || return
	# The repository is CentOS 8's; the adapter makes releasever 3 mean 8 there.
	installed dnf-plugin-releasever-adapter || again dnf -y install dnf-plugin-releasever-adapter --repo alinux3-plus
}

step_docker_ce() {
	installed docker-ce docker-ce-cli containerd.io ||
		install_packages docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin
}

step_docker_service() {
	systemctl enable --now docker || return
	again docker info >/dev/null || return
	if docker --version 2>&1 | grep -qi podman || ! installed docker-ce; then
		say "the docker command is podman's in place of Docker-CE"
		return 65
	fi
}

step_docker_group() {
	if [ -z "$user" ] || [ "$user" = root ]; then
		return 0
	fi
	if ! id -u "$user" >/dev/null 2>&1; then
		say "there is no user $user on this machine"
		return 67
	fi
	case " $(id -nG "$user") " in
	*" docker "*) ;;
	*) usermod -aG docker "$user" ;;
	esac
}

# run does a step and writes down how it ended.
run() {
	local name=$1 started=$SECONDS code=0
	printf '%s\trunning\t0\t0\n' "$name" >>"$state/status.new"
	cp -f "$state/status.new" "$state/status"
	printf '=== %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$name" >>"$log"
	"step_$name" >>"$log" 2>&1 || code=$?
	sed -i '$d' "$state/status.new"
	if [ "$code" = 0 ]; then
		printf '%s\tok\t0\t%s\n' "$name" "$((SECONDS - started))" >>"$state/status.new"
	else
		printf '%s\tfailed\t%s\t%s\n' "$name" "$code" "$((SECONDS - started))" >>"$state/status.new"
	fi
	cp -f "$state/status.new" "$state/status"
	if [ "$code" != 0 ]; then
		say "step $name failed with exit code $code; the end of $log:"
		tail -n 40 "$log"
		exit "$code"
	fi
	say "step $name ok"
}

mkdir -p "$state" "${log%/*}" || exit 73
# cloud-init and Cloud Assistant may both be at it: the second waits.
exec 9>"$state/lock"
flock -w 3600 9 || exit 75
: >"$state/status.new"

for step in system base_packages no_podman_docker docker_repository docker_ce docker_service docker_group; do
	run "$step"
done
rm -f "$state/status.new"
say "done"
