#!/bin/bash
# Stands in for the programs of a simulated machine, by the name it is called.
set -u
sim=$CC_ROOT/sim
program=${0##*/}
printf '%s %s\n' "$program" "$*" >>"$sim/calls"
if [ -e "$CC_ROOT/fail/$program" ]; then
	cat "$CC_ROOT/fail/$program" >&2
	exit 1
fi
has() { grep -qx "$1" "$sim/packages"; }

case $program in
rpm)
	shift
	for package in "$@"; do
		has "$package" || exit 1
	done
	;;
dnf)
	verb=
	skip=
	for word in "$@"; do
		if [ -n "$skip" ]; then
			skip=
			continue
		fi
		case $word in
		--repo) skip=1 ;;
		-*) ;;
		install | remove) verb=$word ;;
		docker-ce)
			# As on the real system, the repository and the adapter come first.
			if [ ! -s "$CC_ROOT/etc/yum.repos.d/docker-ce.repo" ] || ! has dnf-plugin-releasever-adapter; then
				echo "No match for argument: docker-ce" >&2
				exit 1
			fi
			if has podman-docker; then
				echo "file /usr/bin/docker conflicts between docker-ce-cli and podman-docker" >&2
				exit 1
			fi
			has docker-ce || echo docker-ce >>"$sim/packages"
			;;
		*)
			if [ "$verb" = remove ]; then
				sed -i "/^$word\$/d" "$sim/packages"
			else
				has "$word" || echo "$word" >>"$sim/packages"
			fi
			;;
		esac
	done
	;;
systemctl)
	if ! has docker-ce; then
		echo "Failed to enable unit: Unit file docker.service does not exist." >&2
		exit 1
	fi
	touch "$sim/docker-runs"
	;;
docker)
	if has podman-docker || [ -e "$sim/podman" ]; then
		echo "podman version 4.9.4"
	elif has docker-ce; then
		if [ "${1:-}" = info ] && [ ! -e "$sim/docker-runs" ]; then
			echo "Cannot connect to the Docker daemon" >&2
			exit 1
		fi
		echo "Docker version 26.1.3, build b72abbb"
	else
		exit 127
	fi
	;;
id)
	case "$*" in
	-u) echo 0 ;;
	-u\ *) grep -q "^$2 " "$sim/users" && echo 1000 ;;
	-nG\ *) sed -n "s/^$2 //p" "$sim/users" ;;
	esac
	;;
usermod)
	sed -i "s/^$3 .*/& $2/" "$sim/users"
	;;
wget)
	while [ $# -gt 0 ]; do
		if [ "$1" = -O ]; then
			# shellcheck disable=SC2016 # as the repository file has them
			printf '[docker-ce-stable]\nbaseurl=https://mirrors.aliyun.com/docker-ce/linux/centos/$releasever/$basearch/stable\ngpgcheck=1\n' >"$2"
		fi
		shift
	done
	;;
esac
