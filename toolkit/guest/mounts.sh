# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# mounts.sh: lays what every Linux has over $root, the root of a guest. Other scripts read it.
: "${root:?}"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t debugfs debugfs "$root/sys/kernel/debug"
mount -t devtmpfs devtmpfs "$root/dev"
mkdir -p "$root/dev/pts" "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do
	ln -s "fd/${number%:*}" "$root/dev/${number#*:}"
done
mount -t devpts devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
