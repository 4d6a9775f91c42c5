#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# boot.sh FOLDER [terminal]: what the lab's guest runs first, as root.
#
# Runs the script FOLDER/command and leaves in FOLDER what this machine waits for: `booted` before
# the command starts, its `output` (unless it has the terminal), then `dmesg`, the kernel's `tainted`,
# and `status` last: not before all of these are whole.
out=$1 how=${2-}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

mkdir -p /run/lock # for pppd
ip link set lo up

# While it boots, Linux finds out how fast its time stamp counter runs. If this machine starves it then, it
# may be wrong by far, and so is its clock from then on: 30 times too fast was seen. QEMU's real-time clock
# is right. It has whole seconds, so 2 of them mean nothing. (Where the time is executed instructions, the
# two have to differ.)
rtc=/sys/class/rtc/rtc0/since_epoch
if [ -r "$rtc" ] && ! grep -q 'l2wg.counted' /proc/cmdline; then
	ahead=$(($(date +%s) - $(cat "$rtc")))
	if [ "${ahead#-}" -gt 2 ]; then
		echo "boot.sh: the clock is $ahead s ahead: taking hpet" >/dev/kmsg
		echo hpet >/sys/devices/system/clocksource/clocksource0/current_clocksource
	fi
fi

: >"$out/booted"
if [ "$how" = terminal ]; then
	sh "$out/command"
else
	sh "$out/command" >"$out/output" 2>&1 </dev/null
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
dmesg >"$out/dmesg" &&
	cat /proc/sys/kernel/tainted >"$out/tainted" &&
	echo "$status" >"$out/status.new" &&
	mv "$out/status.new" "$out/status"
