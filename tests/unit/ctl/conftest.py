# SPDX-License-Identifier: GPL-2.0
"""Fixtures: l2wgctl on a kernel in memory, and the real `wg` on the same."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l2wgctl import cli
from l2wgctl.netlink import channel
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket, serve
from tests.unit.ctl.fakelinks import FakeLinks

HERE = Path(__file__).parent
PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#: The public key of PRIVATE.
OWN = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
PSK = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="
PEER_A = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
PEER_B = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
PEER_C = "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA="


@pytest.fixture(autouse=True)
def no_public_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One command's public keys are not another's, as in processes of their own."""
    from l2wgctl import errors

    monkeypatch.setattr(errors, "_public", set())


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel refuses, it refuses to somebody who is not root."""
    from l2wgctl import errors, refusals

    monkeypatch.setattr(refusals, "capable", lambda capability: False)
    for module in (refusals, errors):
        monkeypatch.setattr(module, "is_root", lambda: False)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A kernel without devices, which l2wgctl talks to."""
    fake = FakeKernel(("wireguard", "l2wg"))
    monkeypatch.setattr(channel, "open_socket", lambda protocol=16: FakeSocket(fake, protocol))
    monkeypatch.setattr(
        channel, "loaded_families", lambda: tuple(x for x in fake.families if x != "l2wg")
    )
    monkeypatch.setattr(channel, "has_switches", lambda: "l2wg" in fake.families)
    return fake


@pytest.fixture
def links(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> FakeLinks:
    """Links in memory, whose tunnels are the kernel's devices."""
    from l2wgctl.netlink import link

    fake = FakeLinks(kernel)
    monkeypatch.setattr(link, "Links", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    """What `check` and `up` ask of the host, and where `up` keeps its record."""
    from l2wgctl.conf import check
    from l2wgctl.updown import before, record

    fake = FakeHost(tmp_path)
    for module in (check, before):
        monkeypatch.setattr(module, "HOST", fake.facts())
    monkeypatch.setattr(before, "in_use", lambda port: port in fake.ports)
    monkeypatch.setattr(record, "RUN_DIR", tmp_path / "run")
    monkeypatch.setattr(record, "_FIRST", record._OWN)
    return fake


class FakeHost:
    """A host with resolvconf, nft, IPv6, an interface eth0, and no UDP port in use."""

    def __init__(self, folder: Path) -> None:
        self.programs = {"resolvconf", "nft"}
        self.interfaces = {"eth0": 2}
        self.ports: set[int] = set()
        self.resolved = False
        self.ipv6_off = folder / "disable_ipv6"
        self.ipv6_off.write_text("0\n")

    def _ifindex(self, name: str) -> int:
        if name not in self.interfaces:
            raise OSError("no interface with this name")
        return self.interfaces[name]

    def facts(self) -> Any:
        from l2wgctl.conf.preflight import Host

        return Host(
            lambda name: name if name in self.programs else None,
            self._ifindex,
            self.ipv6_off,
            lambda: self.resolved,
        )


class Result:
    """Exit status and output of one run."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def __eq__(self, other: object) -> bool:
        return (self.status, self.out, self.err) == other

    def __repr__(self) -> str:
        return repr((self.status, self.out, self.err))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run l2wgctl in this process."""

    def call(*words: object) -> Result:
        capsys.readouterr()
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as exit_:  # --help, --version
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def conf(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration file, mode 0600."""

    def write(text: str, name: str = "wg1.conf", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /etc/l2wg."""
    from l2wgctl.conf import files, names

    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setattr(files, "CONFIG_DIR", folder)
    monkeypatch.setattr(names, "CONFIG_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nlshim.c, built."""
    compiler = shutil.which("cc")
    if not compiler or not shutil.which("wg"):
        pytest.skip("needs cc and wg (apt-get install gcc wireguard-tools)")
    path = tmp_path_factory.mktemp("shim") / "nlshim.so"
    source = HERE / "nlshim.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source), "-ldl"], check=True)
    return path


@pytest.fixture
def wg(kernel: FakeKernel, shim: Path, tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Run the real wg on the same kernel."""
    socket = tmp_path / "kernel"
    stop = serve(kernel, socket)

    def call(*words: object, **env: str) -> Result:
        done = subprocess.run(
            ["wg", *map(str, words)],
            env={
                "PATH": "/usr/bin:/bin",
                "LD_PRELOAD": str(shim),
                "L2WG_FAKE_KERNEL": str(socket),
                **env,
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    yield call
    stop()
