# SPDX-License-Identifier: GPL-2.0
"""Error numbers with several meanings: l2wgctl says the one that holds on this machine."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import errors, refusals
from l2wgctl.errors import from_errno, from_os_error

Machine = Callable[..., None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with IPv6, and who we are on it."""
    folder = tmp_path / "sys/net/ipv6/conf/wg1"
    folder.mkdir(parents=True)
    (folder / "disable_ipv6").write_text("0\n")
    mtu = tmp_path / "class/net/wg1/mtu"
    mtu.parent.mkdir(parents=True)
    mtu.write_text("1406\n")
    monkeypatch.setattr(refusals, "PROC", tmp_path)
    monkeypatch.setattr(refusals, "SYS", tmp_path)

    def become(
        root: bool = True, capable: bool = True, ipv6_off: bool = False, mtu: int = 0
    ) -> None:
        monkeypatch.setattr(refusals, "capable", lambda capability: capable)
        for module in (refusals, errors):
            monkeypatch.setattr(module, "is_root", lambda: root)
        (folder / "disable_ipv6").write_text("1\n" if ipv6_off else "0\n")
        (tmp_path / "class/net/wg1/mtu").write_text(f"{mtu or 1406}\n")

    become()
    return become


def said(number: int, doing: str, detail: str = "") -> str:
    return str(from_errno(number, "wg1", doing, detail))


OFF = (
    "wg1: IPv6 is off for this link by sysctl (sysctl net.ipv6.conf.all.disable_ipv6=0 "
    "net.ipv6.conf.default.disable_ipv6=0, or use IPv4 only)"
)
V6 = ["add address fd00::1/64", "add route fd00::/64", "set IPv6 address mode"]


@pytest.mark.parametrize("doing", V6)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT])
def test_ipv6_that_is_off(machine: Machine, doing: str, number: int) -> None:
    machine(ipv6_off=True)
    assert said(number, doing) == f"{doing}: {OFF}"


def test_ipv6_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "sys/net/ipv6").rename(tmp_path / "gone")
    what = "this kernel has no IPv6 (start it without ipv6.disable=1, or use IPv4 only)"
    for doing in (*V6, "add policy rule"):
        assert said(errno.EAFNOSUPPORT, doing) == f"{doing}: wg1: {what}"


def test_an_mtu_that_ipv6_cannot_have(machine: Machine) -> None:
    machine(mtu=1200)
    assert said(errno.EINVAL, V6[0]) == (
        f"{V6[0]}: wg1: IPv6 needs an MTU of 1280, and this is 1200 (raise it, or use IPv4)"
    )
    machine()
    assert said(errno.EINVAL, V6[0]) == f"{V6[0]}: wg1: Invalid argument"


NUMBERS = [
    (errno.EACCES, "add address 10.0.0.1/24", "wg1: the kernel refuses it"),
    (errno.EPERM, "show", "wg1: the kernel refuses it"),
    (errno.EOPNOTSUPP, "add VLAN", "wg1: this kernel has no VLANs (modprobe 8021q)"),
    (errno.EOPNOTSUPP, "add bridge", "wg1: this kernel has no bridges (modprobe bridge)"),
    (
        errno.EOPNOTSUPP,
        "enslave",
        "wg1: what it shall be a port of takes no ports (Bridge names a bridge, Master a bond or "
        "team)",
    ),
    (
        errno.EOPNOTSUPP,
        "show",
        "wg1 is not a WireGuard link (see its kind with 'ip -d link show dev wg1')",
    ),
    (
        errno.EBUSY,
        "enslave",
        "wg1: it is a port already, or in use by something else (ip link set wg1 nomaster)",
    ),
    (
        errno.EPERM,
        "enslave",
        "wg1: its master takes only links that are down (ip link set wg1 down)",
    ),
    (errno.ELOOP, "enslave", "wg1: it would be a loop: a bridge as a port of a bridge"),
    (errno.EINVAL, "enslave", "wg1: it cannot be a port there (a port is an Ethernet link)"),
    (
        errno.EINVAL,
        "set MTU",
        "wg1: the link does not take this MTU (see minmtu and maxmtu of 'ip -d link show dev wg1')",
    ),
    (
        errno.EADDRNOTAVAIL,
        "set MAC address",
        "wg1: the link does not take this MAC address (02:xx:xx:xx:xx:xx is free for your use)",
    ),
    (errno.EADDRNOTAVAIL, "del address 10.0.0.1/24", "wg1: it is not there"),
    (errno.EEXIST, "add address 10.0.0.1/24", "wg1: it is there already"),
    (errno.EEXIST, "add VLAN", "wg1: the name is in use, or the VLAN (ip link delete dev wg1)"),
    (errno.EEXIST, "add bridge", "wg1: the name is in use (ip link delete dev wg1)"),
    (
        errno.EEXIST,
        "add",
        "wg1: the name is in use (choose another, or remove it with 'l2wgctl del wg1')",
    ),
    (
        errno.ENETDOWN,
        "add route 10.0.0.0/8",
        "wg1: the link, or the one below it, is down (ip link set wg1 up)",
    ),
    (errno.ENOENT, "del policy rule", "wg1: it is not there"),
    (
        errno.EINVAL,
        "enter network namespace blue",
        "wg1: it is no network namespace any more (ip netns delete blue)",
    ),
    (errno.ENOMEM, "set", "wg1: the kernel has no memory for it"),
    (errno.ENOTTY, "set", "wg1: Inappropriate ioctl for device"),
]


@pytest.mark.parametrize(("number", "doing", "words"), NUMBERS)
def test_numbers(machine: Machine, number: int, doing: str, words: str) -> None:
    assert said(number, doing) == f"{doing}: {words}"


def test_who_is_not_permitted(machine: Machine) -> None:
    machine(root=False, capable=False)
    for doing in ("show", "set", "enslave", "add", V6[0]):
        assert said(errno.EPERM, doing) == (
            f"{doing}: wg1: not permitted (run as root, or with CAP_NET_ADMIN)"
        )
    assert "CAP_SYS_ADMIN" in said(errno.EPERM, "enter network namespace blue")
    machine(root=True, capable=False)
    assert said(errno.EPERM, "set") == (
        "set: wg1: not permitted (root has no CAP_NET_ADMIN here: give it to this container or "
        "unit)"
    )
    machine()
    assert said(errno.EPERM, "set", "for a reason") == (
        "set: wg1: the kernel refuses it [for a reason]"
    )


def test_files_that_are_not_permitted(machine: Machine) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert str(from_os_error(denied, "x", True)) == "x: not permitted, even to root"
    machine(root=False)
    sudo = "(run as root or use sudo)"
    assert str(from_os_error(denied, "x", True)) == f"x: not writable by this user {sudo}"
    assert str(from_os_error(denied, "x")) == f"x: not readable by this user {sudo}"


def test_capabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real one
    monkeypatch.setattr(refusals, "PROC", tmp_path)
    assert refusals.capable(12) is refusals.is_root()
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("Name:\tx\nCapEff:\t0000000000001000\n")
    assert refusals.capable(12) and not refusals.capable(21)
