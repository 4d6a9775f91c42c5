#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# foreign.sh: the first program of a guest of another architecture, run by busybox in its initramfs.
# It lays a root over the guest's own Debian that may be written to and forgets it, brings folders
# of this machine to the same places there, and runs boot.sh.
#
# $L2WG_OUT: the one folder where what the guest writes stays; has boot.sh.
# $L2WG_READS: folders that it only reads, with colons between them.
# $L2WG_MODULES: what is to be /lib/modules.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
ln() { busybox ln "$@"; } # of busybox's programs the initramfs names few

mount -t proc none /proc
# shellcheck source=/dev/null
. /modules/load_all.sh
umount /proc

root=/newroot
way=trans=virtio,version=9p2000.L,msize=65536
mkdir /below /layer
mount -t 9p -o "ro,$way,cache=loose" files /below || exit 1
mount -t tmpfs -o mode=755 l2wg /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/below,upperdir=/layer/upper,workdir=/layer/work overlay $root
# shellcheck source=toolkit/guest/mounts.sh
. /mounts.sh

number=0
IFS=:
for folder in $L2WG_READS; do
	mkdir -p "$root$folder"
	mount -t 9p -o "ro,$way,cache=loose" "read$number" "$root$folder" || exit 1
	number=$((number + 1))
done
unset IFS
mkdir -p "$root$L2WG_OUT"
mount -t 9p -o "$way" out "$root$L2WG_OUT" || exit 1
ln -s "$L2WG_MODULES" $root/lib/modules

# not by a signal to this shell, which would be a panic
# shellcheck disable=SC2016
exec switch_root $root /bin/sh -c \
	'sh "$L2WG_OUT/boot.sh" "$L2WG_OUT" "${L2WG_TERMINAL-}"; busybox poweroff -f'
