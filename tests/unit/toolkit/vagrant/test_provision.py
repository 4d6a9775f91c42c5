# SPDX-License-Identifier: GPL-2.0
"""Vagrant: the Vagrantfile, the box's parts that need no root, libvirt set up and put back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.vagrant import box, leftovers, libvirtd, wheels

SCRIPT = paths.ROOT / "toolkit/vagrant/provision.sh"


def validate(folder: Path, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("vagrant"):
        what = "vagrant is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        pytest.skip(what)
    # neither the checkout nor the home gets anything from it
    places = {"VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"), "VAGRANT_HOME": str(tmp_path / "home")}
    return subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=folder,
        env={**os.environ, **places, "VAGRANT_DEFAULT_PROVIDER": "libvirt", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "env", [{}, {"L2WG_HUB": "1"}, {"L2WG_C": "1", "L2WG_KERNEL": "5.10", "L2WG_DRIVER": "qemu"}]
)
def test_the_vagrantfile_is_valid(tmp_path: Path, env: dict[str, str]) -> None:
    done = validate(paths.ROOT, tmp_path, **env)
    assert done.returncode == 0, done.stdout


def test_a_wrong_vagrantfile_is_not_valid(tmp_path: Path) -> None:
    text = (paths.ROOT / "Vagrantfile").read_text()
    wrong = text.replace("config.vm.boot_timeout", "config.vm.boot_timeuot")
    assert wrong != text
    (tmp_path / "Vagrantfile").write_text(wrong)
    done = validate(tmp_path, tmp_path)
    assert done.returncode != 0 and "boot_timeuot" in done.stdout


@pytest.mark.parametrize("argv", [[], ["link", "192.168.157.1/24"], ["install", "a", "b"]])
def test_the_script_shows_its_usage(argv: list[str]) -> None:
    done = subprocess.run(["sh", SCRIPT, *argv], capture_output=True, text=True, check=False)
    if argv and os.geteuid():
        assert (done.returncode, "not root" in done.stderr) == (1, True)
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert "provision.sh install [CHECKOUT]" in done.stderr
    assert "set -eu" not in done.stderr


def test_the_box_has_vagrants_parts(tmp_path: Path) -> None:
    image = tmp_path / "box.img"
    image.write_bytes(b"a disk")
    packed = [box._pack(tmp_path, image).read_bytes() for _ in range(2)]
    assert packed[0] == packed[1], "the same inputs make different boxes"
    with tarfile.open(tmp_path / "package.box") as tar:
        assert tar.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        metadata = tar.extractfile("metadata.json")
        assert metadata
        assert json.load(metadata) == {
            "provider": "libvirt",
            "format": "qcow2",
            "virtual_size": box.SIZE >> 30,
        }


def test_the_box_is_added_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    file = tmp_path / "cache/boxes/x.box"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"box")
    made = box.Box("l2wg/debian-6.1", "6.1.0-1-amd64", file)
    ran: list[list[object]] = []

    def add(argv: list[object], **_: object) -> None:
        ran.append(argv)
        kept = tmp_path / "home/boxes/l2wg-VAGRANTSLASH-debian-6.1/0/libvirt/box.img"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(b"")

    monkeypatch.setattr(box, "run", add)
    box.add(made)
    box.add(made)
    assert len(ran) == 1 and ran[0][-2:] == ["l2wg/debian-6.1", file]
    os.utime(file, (1, 1))  # made anew
    box.add(made)
    assert len(ran) == 2


def test_wheels_are_those_of_the_lock() -> None:
    names = wheels.closure()
    assert {"pyroute2", "cryptography", "rich", "cffi"} <= names
    assert "pytest" not in names
    lines = wheels.pinned(wheels.LOCK.read_text(), names)
    assert lines.count("==") == len(names)
    assert all(line.startswith((" ", *names)) for line in lines.lower().splitlines())


def test_a_package_that_the_lock_lacks() -> None:
    with pytest.raises(ToolError) as error:
        wheels.pinned("rich==1 \\\n    --hash=sha256:00\n", {"rich", "pyroute2"})
    assert str(error.value) == "requirements.lock has no pyroute2 (./inv lock)"


class Libvirt:
    """A machine on which libvirt answers once its daemons have been started."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = False
        self.calls: list[tuple[str, ...]] = []
        self.networks = ["default"]
        self.machines: list[str] = []
        self.stopped: list[str] = []
        self.conf = tmp_path / "qemu.conf"
        self.conf.write_text("# the owner's\n")
        monkeypatch.setattr(libvirtd, "CONF", self.conf)
        monkeypatch.setattr(libvirtd, "SAVED", tmp_path / "qemu.conf.saved")
        monkeypatch.setattr(libvirtd, "STARTED", tmp_path / "started.json")
        monkeypatch.setattr(libvirtd, "pool_folder", lambda: tmp_path / "pool")
        monkeypatch.setattr(libvirtd, "virsh", self.virsh)
        monkeypatch.setattr(libvirtd, "_start", self.start)
        monkeypatch.setattr(libvirtd, "_stop", lambda name, _: self.stopped.append(name))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(leftovers, "state", lambda: {"forward": "0", "chains": ""})
        monkeypatch.setattr(leftovers, "put_back", self.put_back)
        self.kernel: list[dict[str, str]] = []

    def put_back(self, before: dict[str, str]) -> list[str]:
        self.kernel.append(before)
        return []

    def start(self, name: str) -> None:
        self.up = True
        libvirtd._remember(**{name: f"/run/{name}.pid"})

    def virsh(self, *argv: str, check: bool = True) -> str | None:
        self.calls.append(argv)
        if not self.up:
            return None
        if argv[0] == "net-list":
            return "\n".join(self.networks)
        if argv[0] == "list":
            return "\n".join(self.machines)
        if argv[0] == "pool-info" and ("pool-define-as" not in [c[0] for c in self.calls]):
            return None
        return ""

    def did(self, what: str) -> list[tuple[str, ...]]:
        return [c for c in self.calls if c[0] == what]


@pytest.fixture
def libvirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Libvirt:
    return Libvirt(tmp_path, monkeypatch)


def test_unasked_nothing_is_set_up(libvirt: Libvirt) -> None:
    with pytest.raises(ToolError) as error:
        with libvirtd.ready(setup=False, keep=False):
            pytest.fail("not ready")
    assert "--setup-libvirt" in str(error.value)
    assert libvirt.conf.read_text() == "# the owner's\n"
    assert not libvirt.up and not libvirtd.is_ours()


def test_a_libvirt_that_answers_is_left_alone(libvirt: Libvirt) -> None:
    libvirt.up = True
    with libvirtd.ready(setup=True, keep=False) as pool:
        assert pool is None
        assert libvirt.conf.read_text() == "# the owner's\n"
    assert {c[0] for c in libvirt.calls} == {"version"}
    assert libvirt.stopped == []


def test_what_was_set_up_is_put_back(libvirt: Libvirt) -> None:
    with pytest.raises(RuntimeError, match="a test fails"):
        with libvirtd.ready(setup=True, keep=False) as pool:
            assert pool == "l2wg" and libvirtd.is_ours()
            assert libvirt.conf.read_text().startswith("# the owner's\n")
            assert libvirtd.SETTINGS in libvirt.conf.read_text()
            libvirt.networks.append("vagrant-libvirt")
            raise RuntimeError("a test fails")
    assert libvirt.conf.read_text() == "# the owner's\n"
    assert not libvirtd.is_ours()
    assert libvirt.did("net-undefine") == [("net-undefine", "vagrant-libvirt")]
    assert libvirt.did("pool-undefine") == [("pool-undefine", "l2wg")]
    assert libvirt.stopped == ["libvirtd", "virtlogd"]
    assert libvirt.kernel == [{"forward": "0", "chains": ""}]


def test_kept_and_put_back_later(libvirt: Libvirt) -> None:
    with libvirtd.ready(setup=True, keep=True):
        pass
    assert libvirtd.is_ours() and libvirt.stopped == []
    # a second set-up must not take the changed file for the original
    libvirtd.set_up()
    assert libvirt.conf.read_text().count("security_driver") == 1
    libvirtd.undo()
    assert libvirt.conf.read_text() == "# the owner's\n"


def test_running_machines_keep_their_libvirt(libvirt: Libvirt) -> None:
    libvirtd.set_up()
    libvirt.machines = ["l2wg-a"]
    with pytest.raises(ToolError, match="l2wg-a still run"):
        libvirtd.undo()
    assert libvirt.stopped == [] and libvirtd.is_ours()


def test_without_root_nothing_is_changed(libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ToolError, match="sudo"):
        with libvirtd.ready(setup=True, keep=False):
            pytest.fail("not ready")
    assert libvirt.conf.read_text() == "# the owner's\n"


RULES = """\
-P INPUT ACCEPT
-N LIBVIRT_INP
-N OWN
-A INPUT -i eth0 -j OWN
-A INPUT -j LIBVIRT_INP
-A LIBVIRT_INP -i virbr0 -p udp -m udp --dport 53 -j ACCEPT
"""


def test_only_libvirts_chains_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        here = argv[0] == "iptables" and argv[3] == "filter"
        if argv[-1] != "-S":
            ran.append(argv)
        return subprocess.CompletedProcess(argv, 0, RULES if here else "-P INPUT ACCEPT\n", "")

    forward = tmp_path / "ip_forward"
    forward.write_text("1\n")
    monkeypatch.setattr(leftovers, "run", run)
    monkeypatch.setattr(leftovers, "FORWARD", forward)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert leftovers.put_back({"forward": "1", "chains": "yes"}) == [] and ran == []
    assert len(leftovers.put_back({"forward": "0", "chains": ""})) == 2
    assert [" ".join(r[4:]) for r in ran] == [
        "-D INPUT -j LIBVIRT_INP",
        "-F LIBVIRT_INP",
        "-X LIBVIRT_INP",
    ]
    assert forward.read_text() == "0\n"
