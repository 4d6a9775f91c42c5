# SPDX-License-Identifier: GPL-2.0
"""What the kernel's log must not have in it, and what it may; and a guest that does not boot."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.errors import ToolError
from toolkit.guest.dmesg import complaints
from toolkit.kernels import own
from toolkit.lab import lab as labs
from toolkit.lab import process, uml
from toolkit.lab.lab import Lab
from toolkit.lab.process import NotBooted
from toolkit.lab.result import Result
from toolkit.lab.vm import Vm

BAD = [
    "WARNING: CPU: 1 PID: 143 at net/core/skbuff.c:5321 skb_try_coalesce+0x341/0x350",
    "WARNING: possible circular locking dependency detected",
    "WARNING: suspicious RCU usage",
    "BUG: kernel NULL pointer dereference, address: 0000000000000010",
    "BUG: KASAN: slab-out-of-bounds in l2wg_frame_parse+0x1a/0x90",
    "BUG: scheduling while atomic: kworker/0:1/12/0x00000201",
    "kernel BUG at net/core/skbuff.c:109!",
    "Oops: 0000 [#1] SMP NOPTI",
    "KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]",
    "BUG: KCSAN: data-race in l2wg_table_find / l2wg_table_learn",
    "BUG: KCSAN: data-race in wg_packet_rx_poll / l2wg_receive+0x10/0x20 [l2wireguard]",
    "BUG: KCSAN: assert: race in l2wg_flood_work",
    "UBSAN: shift-out-of-bounds in net/ipv4/tcp.c:1:2",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "possible recursive locking detected",
    "possible circular locking dependency detected",
    "INFO: possible irq lock inversion dependency detected",
    "INFO: trying to register non-static key.",
    "INFO: task ip:143 blocked for more than 120 seconds.",
    "INFO: rcu_sched detected stalls on CPUs/tasks: { 1 }",
    "inconsistent lock state",
    "net/core/dev.c:1 suspicious RCU usage!",
    "rcu: rcu_preempt self-detected stall on CPU",
    "general protection fault, probably for non-canonical address: 0000 [#1] SMP",
    "Unable to handle kernel paging request at virtual address ffff",
    "refcount_t: underflow; use-after-free.",
    "refcount_t: addition on 0; leaking memory.",
    "Call Trace:",
    "Call trace:",
    "invalid opcode: 0000 [#1] SMP NOPTI",
    "int3: 0000 [#2] PREEMPT SMP",
    "Internal error: synchronous external abort: 0000000096000010 [#1] PREEMPT SMP",
    "SError Interrupt on CPU0, code 0x00000000bf000002 -- SError",
    "wg1: hw csum failure",
    "unregister_netdevice: waiting for wg1 to become free. Usage count = 2",
    "Objects remaining in peer_cache on __kmem_cache_shutdown()",
    "slab: use-after-free read",
    "stack guard page was hit at (____ptrval____)",
    "Kernel panic - not syncing: Fatal exception in interrupt",
    "WARNING: possible irq lock inversion dependency detected",
    "INFO: lockdep is turned off.",
    "ODEBUG: free active (active state 0) object: 0 object type: timer_list",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "unreferenced object 0x000000006c1e8a00 (size 512):",
    "list_add corruption. next->prev should be prev, but was 0",
    "ref_tracker: netdev@0000 has 1/1 users, leaked",
]

HARMLESS = """\
[    0.000000] Linux version 5.10.0-46-amd64 (debian-kernel@lists.debian.org) (gcc-10)
[    0.000000] Command line: root=ROOTFS panic=-1 nokaslr debug
[    0.000000] DMI: QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1
[    0.004000] tsc: Unable to calibrate against PIT
[    0.012000] Spectre V2 : WARNING turned off by parameter
[    0.020000] rcu: Hierarchical RCU implementation.
[    0.020000] printk: DEBUG console
[    0.020000] rcu: \tRCU callback double-/use-after-free debug is enabled.
[    0.030000] kmemleak: Kernel memory leak detector initialized (mem pool available: 39855)
[    0.030000] kasan: KernelAddressSanitizer initialized
[    0.030000] kcsan: enabled early
[    0.900000] INFO: lkdtm: No crash points registered, enable through debugfs
[    1.000000] random: crng init done
[    2.900000] virtme-ng-init: WARNING: failed to run: "systemd-tmpfiles" --create --boot
[    3.100000] l2wireguard: loading out-of-tree module taints kernel.
[    3.100000] l2wireguard: module verification failed: signature and/or required key missing
[    3.200000] l2wireguard: WireGuard 1.0.0 loaded. See www.wireguard.com for information.
[    3.200000] l2wireguard: Offering only l2wireguard links, through the netlink family l2wireguard
[    4.000000] wg1: Malformed frame of 57 bytes from peer 1 (10.0.0.2:51820)
[    5.000000] br0: port 1(wg1) entered forwarding state
[    6.000000] eth0: Caught tx_queue_len zero misconfig
"""


@pytest.mark.parametrize("line", BAD)
def test_a_complaint_is_found(line: str) -> None:
    log = f"[    1.0] before\n[    2.0] {line}\n[    3.0] after\n"
    assert complaints(log) == [f"[    2.0] {line}"]


def test_a_healthy_log_has_none() -> None:
    assert complaints(HARMLESS) == []


def test_a_data_race_counts_where_we_have_a_hand_in_it() -> None:
    others = "[    1.0] BUG: KCSAN: data-race in wg_packet_receive / wg_packet_rx_poll\n"
    assert complaints(others) == []
    itself = "[    1.0] BUG: KCSAN: data-race in l2wg_decrypted / wg_index_hashtable_lookup\n"
    assert complaints(itself) == []


@pytest.mark.parametrize("error", [-12, -22])
def test_memory_that_is_short_is_no_defect_of_ours(error: int) -> None:
    short = f"[    1.0] __kmem_cache_create_args(ratelimiter_entry) failed with error {error}\n"
    trace = "[    1.1] CPU: 0 UID: 0 PID: 55 Comm: python3\n[    1.2] Call Trace:\n"
    assert complaints(short + trace) == []
    far = "[    1.1] x\n" * 30
    assert complaints(short + far + trace) == ["[    1.2] Call Trace:"]
    assert complaints(short + trace.replace("Trace", "trace")) == []
    assert complaints(short + "[    1.1] BUG: KASAN: x\n") == ["[    1.1] BUG: KASAN: x"]


class TestResult:
    """What a guest leaves counts as clean only if it is whole."""

    def result(self, folder: Path, log: str, taints: int = 4096 + 8192) -> Result:
        (folder / "dmesg").write_text(log)
        (folder / "tainted").write_text(f"{taints}\n")
        return Result(0, 1.0, folder)

    def test_a_healthy_one(self, tmp_path: Path) -> None:
        assert self.result(tmp_path, HARMLESS).complaints == []

    def test_a_log_that_has_overflowed(self, tmp_path: Path) -> None:
        rest = HARMLESS.partition("\n")[2]
        [line] = self.result(tmp_path, rest).complaints
        assert (
            line == "the kernel's log has lost its beginning, and what was complained about there"
        )

    def test_a_complaint_that_no_pattern_knows(self, tmp_path: Path) -> None:
        [line] = self.result(tmp_path, HARMLESS, 512 + 128 + 4096).complaints
        assert line == "the kernel is tainted by an oops, a warning, which its log does not show"
        assert self.result(tmp_path, HARMLESS + "WARNING: x\n", 512).complaints == ["WARNING: x"]

    def test_a_log_that_could_not_be_written(self, tmp_path: Path) -> None:
        """boot.sh, on a disk that is full: no status, so nobody takes the log for a clean one."""
        program = tmp_path / "bin/dmesg"
        program.parent.mkdir()
        for end, expected in (("exit 1", None), ("echo x", 7)):
            program.write_text(f"#!/bin/sh\n{end}\n")
            program.chmod(0o755)
            (tmp_path / "command").write_text("exit 7\n")
            (tmp_path / "status").unlink(missing_ok=True)
            text = labs.BOOT.read_text().replace("PATH=", f"PATH={program.parent}:")
            text = text.replace("mkdir -p /run/lock", ":").replace("ip link", ": ip link")
            text = text.replace("/sys/kernel/debug", str(tmp_path)).replace(
                "/dev/kmsg", "/dev/null"
            )
            subprocess.run(["sh", "-c", text, "boot.sh", tmp_path], check=False)
            assert process.status(tmp_path) == expected


def lab_of(monkeypatch: pytest.MonkeyPatch, root: Path, release: str) -> Lab:
    """A lab with QEMU, whether this machine has it or not."""
    monkeypatch.setattr(labs.shutil, "which", lambda _: "/usr/bin/qemu-system-x86_64")
    monkeypatch.setattr(labs.vmlinux, "of", lambda _: None)
    module = SimpleNamespace(kernel=SimpleNamespace(release=release), file=Path("/m.ko"))
    return Lab(module, root)  # type: ignore[arg-type]


@pytest.mark.parametrize("hangs", [1, 2])
def test_a_guest_that_does_not_boot_has_a_second_chance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hangs: int
) -> None:
    lab = lab_of(monkeypatch, tmp_path, "7.3.4")
    booted: list[list[str]] = []

    def boot(argv: list[str], _release: str, folder: Path, *_: object, again: str) -> None:
        booted.append(argv)
        if len(booted) <= hangs:
            raise NotBooted("lab: 7.3.4 has not booted after 240 s", "console: x")
        (folder / "status").write_text("3\n")

    monkeypatch.setattr(process, "boot", boot)
    if hangs == 1:
        assert lab.run(["true"], folder=tmp_path / "out", vm=Vm(kvm=False)).status == 3
    else:
        with pytest.raises(NotBooted, match="7.3.4 has not booted"):
            lab.run(["true"], folder=tmp_path / "out", vm=Vm(kvm=False))
    # the second time the console tells
    assert ["--append=loglevel=1" in argv for argv in booted] == [True, False]


def test_a_guest_that_qemu_refuses_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not only that it has ended; and a status that is empty is none."""

    def boot(_argv: list[str], _release: str, folder: Path, *_: object, again: str) -> None:
        (folder / "console").write_text(
            "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n"
            "Traceback (most recent call last):\nsubprocess.CalledProcessError: ...\n"
        )
        (folder / "status").touch()

    monkeypatch.setattr(process, "boot", boot)
    with pytest.raises(ToolError) as error:
        lab_of(monkeypatch, tmp_path, "7.3.4").run(["true"], folder=tmp_path, vm=Vm(kvm=False))
    assert error.value.what == (
        "the guest with 7.3.4 ended before the command did: "
        "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory"
    )


def test_a_folder_that_a_guest_cannot_be_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """virtme-ng puts some names into a shell's command line as they are, and refuses others."""
    with pytest.raises(ToolError) as error:
        lab_of(monkeypatch, tmp_path, "7.3.4").argv(tmp_path / "a $(reboot)", Vm(kvm=True))
    assert str(error.value) == (
        f"{tmp_path}/a $(reboot): virtme-ng takes no folder with ' ' in its name "
        "(letters, digits and _+/.- are fine)"
    )
    for name in ("jörg", "it's", "a;b", "a=b", "a:b", "a,b"):
        with pytest.raises(ToolError, match="virtme-ng takes no folder with"):
            lab_of(monkeypatch, tmp_path / name, "7.3.4").argv(tmp_path, Vm(kvm=True))


@pytest.mark.parametrize("what", ["image", "modules.order", "busybox", "l2wireguard.ko"])
def test_a_lab_is_made_anew_if_anything_in_it_is_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    """A user's own kernel, rebuilt, is still called what it was; and busybox is upgraded."""
    for name in ("image", "modules.order", "busybox", "l2wireguard.ko"):
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(labs.initramfs, "of_this_machine", lambda: tmp_path / "busybox")
    kernel = SimpleNamespace(foreign=None)
    module = SimpleNamespace(file=tmp_path / "l2wireguard.ko", kernel=kernel)

    def digest() -> str:
        return labs._digest(module, tmp_path / "image", tmp_path)  # type: ignore[arg-type]

    before = digest()
    assert digest() == before
    (tmp_path / what).write_text("newer")
    assert digest() != before


def test_a_program_has_no_cable(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="^User Mode Linux has no QEMU"):
        uml.argv(tmp_path, tmp_path, tmp_path, Vm(qemu="-netdev x"))
    assert "log_buf_len=2M" in uml.argv(tmp_path, tmp_path, tmp_path, Vm())
    assert "--append=log_buf_len=2M" in Vm(kvm=True).vng()


def test_only_an_emulated_guest_starts_programs_at_the_same_addresses() -> None:
    assert "--append=norandmaps" in Vm().vng()
    assert "--append=norandmaps" not in Vm(kvm=True).vng()


def test_a_guest_that_panics_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def boot(_argv: list[str], _release: str, folder: Path, *_: object, again: str) -> None:
        (folder / "console").write_text("[    9.1] Oops: int3: 0000 [#1] SMP\n[    9.2] RIP: 10\n")

    monkeypatch.setattr(process, "boot", boot)
    with pytest.raises(ToolError) as error:
        lab_of(monkeypatch, tmp_path, "7.3.4").run(["true"], folder=tmp_path, vm=Vm(kvm=False))
    assert error.value.what == (
        "the guest with 7.3.4 ended before the command did: [    9.1] Oops: int3: 0000 [#1] SMP"
    )
    assert (error.value.log, error.value.again) == (tmp_path, f"sh {tmp_path}/again")


@pytest.mark.parametrize(
    ("kvm", "parallel", "expected"),
    [(False, False, True), (False, True, False), (True, False, False)],
)
def test_emulated_processors_share_a_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kvm: bool, parallel: bool, expected: bool
) -> None:
    lab = lab_of(monkeypatch, tmp_path, "7.3.4")
    argv = lab.argv(tmp_path, Vm(kvm=kvm, parallel=parallel))
    assert any("thread=single" in str(a) for a in argv) == expected


@pytest.mark.parametrize(("name", "kind"), [("uml", labs.Program), ("smp", labs.Several)])
def test_which_lab_a_kernel_of_our_own_gets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: type[Lab]
) -> None:
    mine = own.Own(own.RECIPES[name], tmp_path)
    monkeypatch.setattr(labs.own, "of", lambda _: mine)
    kernel = SimpleNamespace(build=tmp_path, foreign=None)
    assert labs._kind(kernel) is kind  # type: ignore[arg-type]


def test_processors_that_nothing_patches_run_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = lab_of(monkeypatch, tmp_path, "6.12")
    argv = [str(a) for a in labs.Several(lab.module, lab.root).argv(tmp_path, Vm(kvm=False))]
    assert argv[argv.index("--cpus") + 1] == str(labs.PROCESSORS)
    assert "--append=noreplace-smp" in argv
    assert not any("thread=single" in a for a in argv)


def test_the_script_that_starts_a_guest_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same machine as before, but with the command on the terminal."""
    lab, started = lab_of(monkeypatch, tmp_path, "7.3.4"), []
    folder = tmp_path / "a-folder"

    def boot(argv: list[object], _release: str, folder: Path, *_: object, again: str) -> None:
        started.append([str(a) for a in argv])
        (folder / "status").write_text("0\n")

    monkeypatch.setattr(process, "boot", boot)
    lab.run(["echo", "it's"], folder=folder, vm=Vm(kvm=False, memory="3G", qemu="-cpu max"))
    lines = (folder / "again").read_text().splitlines()
    again, boot_it = shlex.split(lines[-1].removeprefix("exec ")), shlex.split(started[0][-1])
    quiet = [a for a in started[0] if a not in ("--verbose", "--append=loglevel=1")]
    assert again[:-1] == quiet[:-1]
    assert shlex.split(again[-1]) == [*boot_it, "terminal"]
    assert boot_it == ["sh", f"{folder}/boot.sh", str(folder)]
    assert {"3G", "--disable-kvm"} <= set(again) and again[-3].endswith(" -cpu max")


def test_what_a_guest_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab_of(monkeypatch, tmp_path, "7.3.4").prepare(tmp_path, ["echo", "it's", "here"])
    run = subprocess.run(["sh", tmp_path / "command"], capture_output=True, text=True, check=True)
    assert run.stdout == "it's here\n"
    assert f"\nexport L2WG_OUT={tmp_path}\n" in (tmp_path / "command").read_text()


@pytest.mark.parametrize(
    ("kvm", "found", "expected"), [(False, True, True), (False, False, False), (True, True, False)]
)
def test_an_emulated_processor_need_not_unpack_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kvm: bool, found: bool, expected: bool
) -> None:
    lab = lab_of(monkeypatch, tmp_path / "a-folder", "7.3.4")
    monkeypatch.setattr(labs.vmlinux, "of", lambda image: Path(f"{image}.elf") if found else None)
    argv = [str(a) for a in lab.argv(tmp_path, Vm(kvm=kvm))]
    # vng needs the image, too: it tells which modules go with it
    assert argv[argv.index("--run") + 1] == str(lab.image)
    [options] = [a.removeprefix("--qemu-opts=") for a in argv if a.startswith("--qemu-opts=")]
    words = shlex.split(options)
    assert words[:2] == ["-initrd", f"{lab.root}/boot/initramfs-7.3.4"]
    assert (words[2:4] == ["-kernel", f"{lab.image}.elf"]) == expected
    assert ("-kernel" in words) == expected


def test_a_pool_that_fails_ends_its_own_guests_only(tmp_path: Path) -> None:
    """A pair of machines that fails leaves the guest beside it alone."""
    with open(os.devnull, "wb") as null:

        def guest(_: object = None) -> subprocess.Popen[bytes]:
            return process.start(["sleep", "60"], null.fileno())

        def inner() -> subprocess.Popen[bytes]:
            with pytest.raises(ToolError), process.pool(2) as pool:
                mine: subprocess.Popen[bytes] = pool.submit(guest).result()
                raise ToolError("one of the two has failed")
            return mine

        with pytest.raises(KeyboardInterrupt), process.pool(2) as pool:
            beside = pool.submit(guest).result()
            assert pool.submit(inner).result().returncode is not None
            assert beside.poll() is None
            raise KeyboardInterrupt
        assert beside.returncode is not None
