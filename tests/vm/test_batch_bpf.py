# SPDX-License-Identifier: GPL-2.0
"""Batches and programs of the kernel's (bpf(2)) on their way."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.batches import (
    INSIDE,
    offloads,
    usual,
)
from tests.vm.flows import (
    burst,
    stream,
)
from toolkit.guest.hosts import (
    LONG,
    Host,
    sh,
)

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("batching")]

Hosts = Callable[..., list[Host]]


BPF_PROG_LOAD, BPF_OBJ_PIN = 5, 6
BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP = 3, 6
BPF_FUNC_SKB_PULL_DATA = 39
TC_ACT_OK, XDP_PASS = 0, 2


def instruction(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """struct bpf_insn"""
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


RETURN = instruction(0x95)


def answer(value: int) -> bytes:
    return instruction(0xB7, 0, imm=value) + RETURN


def pull(size: int) -> bytes:
    """bpf_skb_pull_data(skb, size), then on."""
    return (
        instruction(0xB7, 2, imm=size)
        + instruction(0x85, imm=BPF_FUNC_SKB_PULL_DATA)
        + answer(TC_ACT_OK)
    )


def load(kind: int, program: bytes, name: str) -> str:
    """Load a program; the file that it is pinned to."""
    if platform.machine() != "x86_64":
        pytest.skip("the number of bpf(2) is x86_64's")
    libc = ctypes.CDLL(None, use_errno=True)

    def bpf(command: int, attributes: bytes) -> int:
        buffer = ctypes.create_string_buffer(attributes, 128)
        result: int = libc.syscall(321, command, buffer, len(attributes))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"bpf({command})")
        return result

    if not os.path.ismount("/sys/fs/bpf"):
        sh("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    code, gpl = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII",
        *(kind, len(program) // 8, ctypes.addressof(code), ctypes.addressof(gpl)),
        *(0, 0, 0, 0, 0),
    )
    fd = bpf(BPF_PROG_LOAD, attributes)
    path = f"/sys/fs/bpf/{name}"
    Path(path).unlink(missing_ok=True)
    file = ctypes.create_string_buffer(path.encode())
    bpf(BPF_OBJ_PIN, struct.pack("=QII", ctypes.addressof(file), fd, 0))
    os.close(fd)
    return path


def pinned(host: Host, *argv: str) -> None:
    """`ip netns exec` hides the mounts that are made later: enter the network alone."""
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{host.name}", *argv],
        check=True,
        capture_output=True,
        timeout=LONG,
    )


@pytest.mark.parametrize("size", [100, 1100, 1500, 3000, 65535])
def test_tc_bpf_that_pulls_data(ends: tuple[Host, Host], size: int) -> None:
    """More in the head than the first message: no longer where the datagrams begin."""
    a, b = ends
    path = load(BPF_PROG_TYPE_SCHED_CLS, pull(size), f"pull{size}")
    pinned(a, "tc", "qdisc", "add", "dev", "eth0", "clsact")
    pinned(a, *"tc filter add dev eth0 egress bpf da pinned".split(), path)
    for card in ({"tx-udp-segmentation": "on"}, {"tx-udp-segmentation": "off"}, {"tx": "off"}):
        offloads(a, **card)
        for outer in (4, 6):
            burst(a, b, INSIDE[outer], usual())


@pytest.mark.parametrize("how", ["xdpdrv", "xdpgeneric"])
def test_xdp_at_the_receiver(ends: tuple[Host, Host], how: str) -> None:
    a, b = ends
    path = load(BPF_PROG_TYPE_XDP, answer(XDP_PASS), "pass")
    b.ip("link set eth0 mtu 1500")
    pinned(b, *f"ip link set dev eth0 {how} pinned {path}".split())
    try:
        for outer in (4, 6):
            burst(a, b, INSIDE[outer], usual())
            stream(a, b, INSIDE[outer], 300_000)
    finally:
        pinned(b, *f"ip link set dev eth0 {how} off".split())
