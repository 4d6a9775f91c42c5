#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# boot.sh FOLDER [terminal]: what the lab's guest runs first, as root.
#
# Runs the script FOLDER/command and leaves in FOLDER what this machine waits for: `booted` before
# the command starts, its `output` (unless it has the terminal), then `dmesg`, and `status` last.
out=$1 how=${2-}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# virtme-ng's root, and the overlays that it lays over /usr and the like, do not cache: every
# program start reads the program and its libraries again. So we mount the same files a second time,
# with a cache, and bind the guest's other mounts into them. The tests run some five times faster so
# under TCG. Messages stay small because Linux before 6.0 allocates (and clears) two buffers of the
# maximum for each request.
tag=l2wgroot root=/run/l2wg-root

cached_root() {
	mkdir -p "$root"
	mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=65536,cache=loose "$tag" "$root" ||
		return 1
	if [ ! -d "$root/usr/lib/modules" ]; then # no place for that mount
		lib=$root/usr/lib over=/run/l2wg-lib
		mkdir -p "$over/upper/modules" "$over/work"
		mount -t overlay -o "lowerdir=$lib,upperdir=$over/upper,workdir=$over/work" overlay "$lib"
	fi
	while read -r _ at _; do
		case $at in
		/ | /usr | /usr/lib | /lib | /opt | "$root"*) ;; # $root has them, unchanged
		*) mount --bind "$at" "$root$at" ;;
		esac
	done </proc/self/mounts
	[ -e "$root/lib/modules/$(uname -r)" ]
}

ip link set lo up
# If there is no fast root, use the slow one.
if cached_root 2>/dev/null; then
	set -- chroot "$root" sh "$out/command"
else
	set -- sh "$out/command"
fi
: >"$out/booted"
if [ "$how" = terminal ]; then
	"$@"
else
	"$@" >"$out/output" 2>&1 </dev/null
fi
status=$?

# A kernel that finds faults says some of them only when it is asked: memory that nobody points to
# any more (of objects older than 5 s), and that lockdep has given up.
leaks=/sys/kernel/debug/kmemleak
if [ -w "$leaks" ]; then
	echo scan >"$leaks"
	sleep 6
	echo scan >"$leaks"
	cat "$leaks" >"$out/kmemleak"
fi
if grep -q 'debug_locks: *0' /proc/lockdep_stats 2>/dev/null; then
	echo 'WARNING: lockdep has turned itself off' >/dev/kmsg
fi
# And how often each line of our module has run (toolkit/checks/lines.py).
counts=/sys/kernel/debug/gcov
if [ -d "$counts" ]; then
	mkdir -p "$out/gcda"
	find "$counts" -name "*.gcda" | while read -r file; do
		cat "$file" >"$out/gcda/${file##*/}"
	done
fi
dmesg >"$out/dmesg"
echo "$status" >"$out/status.new"
mv "$out/status.new" "$out/status"
