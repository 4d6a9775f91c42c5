#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# init.sh: the first program of the lab's guest, run by busybox in its initramfs. It mounts this
# machine's files as the guest's root, and goes on as virtme-ng's init.
#
# In place of virtme-ng's own, which mounts the root without a cache and with messages of 512 kB.
# Each start of a program there reads the program and its libraries again, and Linux before 6.0
# allocates (and clears) two such buffers for each request.

# Both on virtme-ng's command line: its init, the last of that name, and folders to be written to.
mount -t proc none /proc
read -r line </proc/cmdline
for word in $line; do
	case $word in
	init=*) init=${word#init=} ;;
	# An overlay takes longer to look up a name, and nobody writes here.
	virtme_rw_overlay*=/usr | virtme_rw_overlay*=/lib | virtme_rw_overlay*=/opt)
		unset "${word%%=*}"
		;;
	esac
done
# shellcheck source=/dev/null
. /modules/load_all.sh
umount /proc

root=/newroot
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=65536,cache=loose /dev/root $root || exit 1
mount -t tmpfs l2wg $root/run # covered later by the guest's own
if [ ! -d $root/usr/lib/modules ]; then # no place for the modules
	over=$root/run/l2wg-lib
	mkdir -p $over/upper/modules $over/work
	mount -t overlay -o lowerdir=$root/usr/lib,upperdir=$over/upper,workdir=$over/work \
		overlay $root/usr/lib
fi

# virtme-ng's init would run this for seconds, and nothing here needs what it makes.
tmpfiles=$root/usr/bin/systemd-tmpfiles
[ ! -e $tmpfiles ] || mount -o bind $root/bin/true $tmpfiles
exec switch_root $root "$init" "$@"
