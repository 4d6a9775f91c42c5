#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# PID 1 of a guest that is a program (User Mode Linux) on this machine's files: lays a root over
# them that may be written to and forgets it, and runs boot.sh there.
#
# $L2WG_OUT: the one folder where what the guest writes stays; has boot.sh.
# $L2WG_MODULES: what is to be /lib/modules.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=/run/l2wg-root
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p $root /run/upper /run/work
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay $root

# shellcheck source=toolkit/guest/mounts.sh
. "${0%/*}/mounts.sh"

tree=${0%/toolkit/guest/uml.sh}
case $tree in
/tmp/* | /run/* | /dev/*) # which have just been covered
	mkdir -p "$root$tree"
	mount -r -t hostfs -o "$tree" hostfs "$root$tree"
	;;
esac
mkdir -p "$root$L2WG_OUT" $root/lib/modules
mount -t hostfs -o "$L2WG_OUT" hostfs "$root$L2WG_OUT"
mount -t hostfs -o "$L2WG_MODULES" hostfs $root/lib/modules

# with pivot_root and not chroot alone: the kernel itself runs modprobe in its own root
mkdir -p $root/run/old
cd $root || exit
pivot_root . run/old
umount -l /run/old
sh "$L2WG_OUT/boot.sh" "$L2WG_OUT" "${L2WG_TERMINAL-}"
# not by a signal to this shell, which would be a panic
busybox poweroff -f
