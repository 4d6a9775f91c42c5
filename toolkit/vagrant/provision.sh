#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Put l2wg onto a machine, with Vagrant or without; as root:
#
#   provision.sh install [CHECKOUT]
#       install the module for the running kernel, and l2wgctl; make a key pair for wg1, print its
#       public key and keep that in /etc/l2wg/wg1.pub. What CHECKOUT/build has is used:
#       build/RELEASE/l2wireguard.ko, build/wheels. The rest is built here, with Debian's packages
#       from the network.
#   provision.sh link ADDRESS/LENGTH PEER-KEY ENDPOINT [PORT]
#       make a bridge br0 with that address; its ports are wg1 to the peer, and the Ethernet port
#       PORT. It comes back at each start.
set -eu

HOME_OF_CTL=/opt/l2wgctl
CONF=/etc/l2wg/wg1.conf
KEY=/etc/l2wg/wg1.key
PUBLIC=/etc/l2wg/wg1.pub
CTL=/usr/local/bin/l2wgctl

say() {
	printf 'provision: %s\n' "$*" >&2
}

die() {
	say "$@"
	exit 1
}

usage() {
	sed -n '3,/^set -eu/s/^#\( \|$\)//p' "$0" >&2
	exit 2
}

# apt TEST PACKAGE...: have the packages, unless the command TEST succeeds
apt() {
	if sh -c "$1" >/dev/null 2>&1; then
		return
	fi
	shift
	say "installing $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; } ||
		die "apt-get could not install $* (is a package mirror reachable from here?)"
}

# The module for the running kernel, from the checkout's build folder or built there.
install_module() {
	release=$(uname -r)
	built=$checkout/build/$release/l2wireguard.ko
	if [ ! -e "$built" ]; then
		say "building the module for $release"
		apt "[ -e /lib/modules/$release/build/Makefile ]" "linux-headers-$release"
		apt 'python3 -c "import sys, ensurepip; assert sys.version_info >= (3, 11)"' \
			python3 python3-venv
		(cd "$checkout" && ./inv build-module --kernel "$release") ||
			die "no module for $release (build it elsewhere: ./inv build-module --kernel $release)"
	fi
	say "installing the module for $release"
	install -D -m 644 -t "/lib/modules/$release/updates" "$built"
	depmod "$release"
	modprobe --set-version "$release" --dry-run l2wireguard ||
		die "$release does not take $built (modprobe l2wireguard says why)"
}

# l2wgctl gets an environment of its own: the distribution's Python packages stay as they are.
install_ctl() {
	apt 'python3 -c "import ensurepip"' python3-venv
	[ -x "$HOME_OF_CTL/bin/pip" ] || python3 -m venv "$HOME_OF_CTL"
	say "installing l2wgctl"
	wheels=$checkout/build/wheels
	if [ -d "$wheels" ]; then
		from="--no-index --find-links=$wheels"
		set -- "$wheels"/l2wg-*.whl
	else
		from=
		set -- "$checkout"
	fi
	# shellcheck disable=SC2086 # words
	"$HOME_OF_CTL/bin/pip" install --quiet --disable-pip-version-check --root-user-action=ignore \
		$from "$1" ||
		die "pip could not install l2wgctl (without a network: ./inv box makes build/wheels)"
	# the same version may have other contents
	# shellcheck disable=SC2086
	"$HOME_OF_CTL/bin/pip" install --quiet --disable-pip-version-check --root-user-action=ignore \
		--force-reinstall --no-deps $from "$1"
	ln -sf "$HOME_OF_CTL/bin/l2wgctl" "$CTL"
	said=$("$CTL" install-files 2>&1) || die "$said"
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
	fi
}

# The key never leaves this machine, and never gets onto a command line.
make_key() {
	[ -e "$KEY" ] || (umask 077 && "$CTL" genkey >"$KEY.new" && mv "$KEY.new" "$KEY")
	"$CTL" pubkey <"$KEY" >"$PUBLIC.new"
	mv "$PUBLIC.new" "$PUBLIC"
	cat "$PUBLIC"
}

write_conf() {
	address=$1 peer=$2 endpoint=$3 port=${4-}
	umask 077
	{
		echo '[Interface]'
		printf 'PrivateKey = %s\n' "$(cat "$KEY")"
		echo 'ListenPort = 51820'
		printf 'Bridge = br0\nBridgeCreate = yes\nBridgeAddress = %s\n' "$address"
		if [ -n "$port" ]; then
			printf 'PostUp = ip link set %s master br0 up\n' "$port"
		fi
		printf '\n[Peer]\nPublicKey = %s\nEndpoint = %s\n' "$peer" "$endpoint"
		echo 'AllowedIPs = 0.0.0.0/0, ::/0'
	} >"$CONF.new"
	if cmp -s "$CONF.new" "$CONF"; then
		rm "$CONF.new"
		return
	fi
	mv "$CONF.new" "$CONF"
	"$CTL" check "$CONF" || die "$CONF is not right"
	changed=yes
}

link() {
	[ -e "$KEY" ] || die "no $KEY here (first: provision.sh install)"
	changed=
	write_conf "$@"
	if [ -d /run/systemd/system ]; then
		if [ -n "$changed" ]; then
			systemctl stop l2wg@wg1
		fi
		systemctl enable --quiet --now l2wg@wg1
		say "wg1 is up, and will be at each start"
	else
		say "no systemd here: bring it up with l2wgctl up wg1"
	fi
}

[ $# -gt 0 ] || usage
[ "$(id -u)" -eq 0 ] || die "not root (sudo $0 $*)"
what=$1
shift
case $what:$# in
install:0 | install:1)
	checkout=${1-$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)}
	install_module
	install_ctl
	make_key
	;;
link:3 | link:4) link "$@" ;;
*) usage ;;
esac
