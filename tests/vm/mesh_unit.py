# SPDX-License-Identifier: GPL-2.0
"""l2wg-mesh@.service under a real systemd, with an etcd that wants TLS and certificates.

systemd is PID 1 of a container on the host A: namespaces of its own for processes, mounts and
cgroups, and A's network. The unit is the one that is installed, with all that it forbids.
./inv mesh-test runs this.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2wgctl import install
from tests.vm.mesh_basics import public
from toolkit.guest.hosts import Failed, Host, eventually, sh, stop
from toolkit.guest.mesh import FOLDER, MESH, ROOT, Town

SYSTEMD = Path("/lib/systemd/systemd")
LINK, UNIT = f"l2wg@{MESH}.service", f"l2wg-mesh@{MESH}.service"
#: Where the units find l2wgctl: not in /home or /tmp, which they may not see.
PLACE = Path("/var/lib/l2wg-test")
TARGET = "l2wg-test.target"
CAP_NET_ADMIN = 12
BOOT = f"""
mount --make-rprivate /
mkdir -p /var/lib/l2wg
mount --bind {ROOT} {PLACE}/tree
mount --bind {sys.base_prefix} {PLACE}/python
mount --bind "$0/lib" /var/lib/l2wg
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=l2wg-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
	{SYSTEMD} --system --unit={TARGET} --log-target=console --show-status=no
"""
#: Python may be in /root, and its library be found by that path.
PROGRAM = f"""#!/bin/sh
export PYTHONHOME={PLACE}/python LD_LIBRARY_PATH={PLACE}/python/lib
export PYTHONPATH={PLACE}/tree:{{packages}}
exec {PLACE}/python/bin/{{python}} -B -m l2wgctl "$@"
"""
pytestmark = pytest.mark.skipif(not SYSTEMD.exists(), reason="needs systemd")


class Machine:
    """A host whose PID 1 is systemd."""

    def __init__(self, town: Town, name: str) -> None:
        self.town, self.host = town, town.hosts[name]
        self._install()
        log = FOLDER / f"{name}-systemd.log"
        words = ("unshare", "--fork", "--pid", "--mount-proc", "--mount", "--cgroup", "--ipc")
        boot = ("sh", "-ec", BOOT, str(FOLDER / name))
        self.process = self.host.start("sh", "-c", f'exec "$@" >{log} 2>&1', "sh", *words, *boot)
        eventually(lambda: bool(self._children()), "the container begins")
        (self.pid,) = self._children()
        eventually(lambda: "active" in self.state(TARGET).split(), "systemd is up")

    def _children(self) -> list[str]:
        """The kernel's own list of them is an option that not all have."""
        said = sh("ps", "-o", "pid=", "--ppid", str(self.process.pid), check=False)
        return said.split()

    @staticmethod
    def _install() -> None:
        """The units as install-files writes them, and the l2wgctl that they call."""
        for name in ("tree", "python"):
            (PLACE / name).mkdir(parents=True, exist_ok=True)
        program = PLACE / "l2wgctl"
        packages = Path(sysconfig.get_path("purelib"))
        if ROOT in packages.parents:
            packages = PLACE / "tree" / packages.relative_to(ROOT)
        python = Path(sys.executable).resolve().name
        program.write_text(PROGRAM.format(packages=packages, python=python))
        program.chmod(0o755)
        folder = Path("/etc/systemd/system")
        folder.mkdir(parents=True, exist_ok=True)
        for path in (install.DATA / "systemd").iterdir():
            text = path.read_text().replace(install.PLACEHOLDER, str(program))
            (folder / path.name).write_text(text)
        # what this machine starts otherwise is none of ours
        (folder / TARGET).write_text("[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n")
        for name in (
            "systemd-udevd",
            "systemd-udev-trigger",
            "systemd-sysctl",
            "systemd-modules-load",
        ):
            (folder / f"{name}.service").unlink(missing_ok=True)
            (folder / f"{name}.service").symlink_to("/dev/null")

    def run(self, *words: str, check: bool = True) -> str:
        """A command in the container."""
        enter = ("nsenter", "-t", self.pid, "-p", "-m", "-C", "-i")
        return self.host.run(*enter, *words, check=check)

    def ctl(self, *words: str) -> str:
        """systemctl; a failure comes with what the units have said.

        :raises Failed: it fails.
        """
        try:
            return self.run("systemctl", *words)
        except Failed as failed:
            said = self.run("journalctl", "-n", "60", "--no-pager", "-o", "cat", check=False)
            raise Failed(f"{failed}\n{said}") from None

    def state(self, unit: str) -> str:
        return self.run("systemctl", "is-active", unit, check=False).strip()

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def destroy(self) -> None:
        """End its PID 1, and with it all the others."""
        os.kill(int(self.pid), signal.SIGKILL)
        stop(self.process)


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    made = Town(members=1, tls=True)
    made.start_store()
    made.make_admin()
    made.make_host("A", 1, up=False)
    made.make_host("B", 2)
    for name in ("A", "B"):
        made.sign(name, made.join(name))
    made.start_agent("B")
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture(scope="module")
def machine(town: Town) -> Iterator[Machine]:
    made = Machine(town, "A")
    try:
        yield made
    finally:
        print(made.run("journalctl", "--no-pager", "-o", "cat", "-u", "l2wg*", check=False))
        made.destroy()


def test_it_starts_with_its_link_and_does_all_that_an_agent_does(
    machine: Machine, town: Town
) -> None:
    machine.ctl("start", UNIT)
    # Type=notify: it is up only when the switch is as the mesh was known last
    assert (machine.state(LINK), machine.state(UNIT)) == ("active", "active")
    town.until_ping("A", "B")
    town.until_ping("B", "A")
    eventually(
        lambda: machine.show(UNIT, "StatusText") == "in touch with the store; 2 hosts",
        "systemd knows how it is",
    )
    pid = machine.show(UNIT, "MainPID")
    status = machine.run("cat", f"/proc/{pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(fields[name], 16) == 1 << CAP_NET_ADMIN, status
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    said = machine.run(str(PLACE / "l2wgctl"), "mesh", "status", MESH)
    assert "agent: runs, in touch with the store" in said and "fault" not in said
    eventually(lambda: bool(town.read(f"/l2wg/{MESH}/alive/a")), "A has its sign of life")
    said = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"exposure level for \S+: (\d\.\d) (\w+)", said)
    page = (ROOT / "docs/mesh.md").read_text()
    quoted = re.search(r"says (\d\.\d), OK", page)
    assert found and quoted and found[2] == "OK" and float(found[1]) <= float(quoted[1]), said


def test_it_renews_its_key_in_its_file(machine: Machine, town: Town) -> None:
    old, folder = public(town, "A"), Path("/etc/netns/A/l2wg")
    town.sign("A", town.join("A", "--renew"))
    eventually(lambda: public(town, "A") != old, "A has its new key")
    waiting = folder / f"{MESH}.key.next"
    eventually(lambda: not waiting.exists(), "the new key is in its file")
    key = (folder / f"{MESH}.key").read_text().strip()
    assert town.hosts["A"].run("wg", "show", MESH, "private-key").strip() == key
    assert (folder / f"{MESH}.key").stat().st_mode & 0o777 == 0o600
    eventually(lambda: old not in town.peers("B"), "B forgets the old key")
    town.until_ping("A", "B")


def sessions(host: Host) -> dict[str, tuple[int, int, int]]:
    """Of each peer: time of its last handshake, bytes received and sent; all 0 for a new one."""

    def shown(what: str) -> dict[str, list[str]]:
        lines = host.run("wg", "show", MESH, what).splitlines()
        return {key: values for key, *values in (line.split("\t") for line in lines)}

    times, moved = shown("latest-handshakes"), shown("transfer")
    return {key: (int(times[key][0]), int(moved[key][0]), int(moved[key][1])) for key in times}


def test_reload_and_restart_touch_no_session(machine: Machine, town: Town) -> None:
    """No peer is made anew. One may renew its session by itself: both ends have just begun one."""
    a = town.hosts["A"]
    before, peers = sessions(a), town.peers("A")
    assert any(min(had) > 0 for had in before.values())
    machine.ctl("reload", LINK)
    machine.ctl("restart", UNIT)
    after = sessions(a)
    assert after.keys() == before.keys() and town.peers("A") == peers
    for key, had in before.items():
        assert all(now >= then for now, then in zip(after[key], had)), (had, after[key])
    # killed, it comes back by itself
    pid = machine.show(UNIT, "MainPID")
    machine.run("kill", "-KILL", pid)
    eventually(lambda: machine.show(UNIT, "MainPID") not in ("0", pid), "another agent runs")
    eventually(lambda: machine.state(UNIT) == "active", "it is up again")
    assert machine.show(UNIT, "NRestarts") == "1" and town.peers("A") == peers
    town.until_ping("A", "B")


def test_it_ends_with_its_link(machine: Machine, town: Town) -> None:
    eventually(lambda: bool(town.read(f"/l2wg/{MESH}/alive/a")), "A has its sign of life")
    machine.ctl("stop", LINK)
    assert (machine.state(LINK), machine.state(UNIT)) == ("inactive", "inactive")
    assert machine.show(UNIT, "Result") == "success"
    assert not town.hosts["A"].ok("ip", "link", "show", MESH)
    assert town.read(f"/l2wg/{MESH}/alive/a") is None
    said = machine.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)
    assert "Traceback" not in said, said
