# SPDX-License-Identifier: GPL-2.0
"""libvirt for the time of a test, on a machine where it is installed and does not run.

It says what it changes, and can undo it even after a crash: the original of each file stays beside
it, and a note says what was started. A libvirt that answers is used as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import run, say
from toolkit.vagrant import leftovers

URI = "qemu:///system"
POOL = "l2wg"
CONF = Path("/etc/libvirt/qemu.conf")
SAVED = Path("/etc/libvirt/qemu.conf.before-l2wg")
#: Disks in root's home have to be readable. With a security driver, every call would probe KVM
#: again, which takes seconds if KVM does not work.
SETTINGS = 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
STARTED = Path("/run/l2wg-libvirt.json")
DAEMONS = ("virtlogd", "libvirtd")
PATIENCE = 90  # seconds for a daemon to answer


def answers() -> bool:
    """Does libvirt's system daemon answer us?"""
    return virsh("version", check=False) is not None


def virsh(*argv: str, check: bool = True) -> str | None:
    """What `virsh` prints; None if it fails and `check` is off."""
    # a hanging KVM must not hang us
    done = run(["virsh", "--connect", URI, "--quiet", *argv], check=check, timeout=300)
    return None if done.returncode else done.stdout


def pool_folder() -> Path:
    """The folder of the machines' disks if we have set libvirt up."""
    return paths.cache() / "pool"


def is_ours() -> bool:
    """Have we set libvirt up, and not undone that yet?"""
    return STARTED.exists() or SAVED.exists()


@contextlib.contextmanager
def ready(*, setup: bool, keep: bool) -> Iterator[str | None]:
    """libvirt answers in the block; the name of our pool if we have set libvirt up.

    :param setup: we may set it up.
    :param keep: leave it running afterwards.
    :raises ToolError: it does not answer, and we may not set it up.
    """
    check(setup=setup)
    try:
        if not answers():
            set_up()
        yield POOL if is_ours() else None
    finally:
        if is_ours() and not keep:
            undo()


def check(*, setup: bool) -> None:
    """Can there be a libvirt?

    :raises ToolError: it does not answer, and we may not set it up.
    """
    if not setup and not answers():
        raise ToolError(
            f"libvirt does not answer at {URI}",
            "start libvirtd and join its group, or have it set up for the test: --setup-libvirt",
        )


def set_up() -> None:
    """Change settings, start daemons, make a pool, and say so each time.

    :raises ToolError: we are not root, or a daemon does not answer.
    """
    if os.geteuid() != 0:
        raise ToolError("--setup-libvirt: libvirt's daemons need root", "run it with sudo")
    say("Setting libvirt up; this is undone at the end, or by ./inv vagrant-test --destroy:")
    if not SAVED.exists():
        say(f"[#] {CONF}: {SETTINGS.strip().replace(chr(10), ', ')} (original: {SAVED})")
        shutil.copy2(CONF, SAVED)
    if "kernel" not in _memory():
        _remember(kernel=leftovers.state())
    original = SAVED.read_text()
    CONF.write_text(f"{original}\n# for the time of l2wg's ./inv vagrant-test\n{SETTINGS}")
    for name in DAEMONS:
        _start(name)
    deadline = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > deadline:
            raise ToolError(f"libvirtd does not answer after {PATIENCE} s", "see `libvirtd -v`")
        time.sleep(1)
    _remember(networks=(virsh("net-list", "--all", "--name") or "").split())
    folder = pool_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if virsh("pool-info", POOL, check=False) is None:
        say(f"[#] virsh pool-define-as {POOL} dir --target {folder}")
        virsh("pool-define-as", POOL, "dir", "--target", str(folder))
    virsh("pool-start", POOL, check=False)


def _start(name: str) -> None:
    pid = Path(f"/run/l2wg-{name}.pid")
    if _alive(pid):
        return
    if run(["pidof", name], check=False).returncode == 0:
        say(f"{name} runs already")
        return
    say(f"[#] {name} --daemon")
    run([f"/usr/sbin/{name}", "--daemon", "--pid-file", pid], hint=f"apt-get install {name}")
    _remember(**{name: str(pid)})


def _memory() -> dict[str, object]:
    try:
        return dict(json.loads(STARTED.read_text()))
    except (OSError, ValueError):
        return {}


def _remember(**what: object) -> None:
    STARTED.write_text(json.dumps({**_memory(), **what}))


def _alive(pid_file: Path) -> int | None:
    """The process that the file names, if it is there."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def undo() -> None:
    """Undo what set_up() has changed; what the machine's owner had stays.

    :raises ToolError: virtual machines still run.
    """
    memory = _memory()
    if answers():
        if running := (virsh("list", "--name") or "").split():
            raise ToolError(
                f"libvirt stays as it is: {', '.join(running)} still run",
                "vagrant destroy, then ./inv vagrant-test --destroy",
            )
        known = memory.get("networks")
        for network in (virsh("net-list", "--all", "--name") or "").split():
            if isinstance(known, list) and network not in known:
                say(f"[#] virsh net-undefine {network}")
                virsh("net-destroy", network, check=False)
                virsh("net-undefine", network)
        if virsh("pool-info", POOL, check=False) is not None:
            say(f"[#] virsh pool-undefine {POOL}")
            virsh("pool-destroy", POOL, check=False)
            virsh("pool-undefine", POOL)
    shutil.rmtree(pool_folder(), ignore_errors=True)
    for name in reversed(DAEMONS):
        if file := memory.get(name):
            _stop(name, Path(str(file)))
    kernel = memory.get("kernel")
    if isinstance(kernel, dict):
        for what in leftovers.put_back(kernel):
            say(f"[#] {what}")
    if SAVED.exists():
        say(f"[#] {CONF}: as it was")
        SAVED.replace(CONF)
    STARTED.unlink(missing_ok=True)


def _stop(name: str, pid_file: Path) -> None:
    pid = _alive(pid_file)
    if pid is None:
        return
    say(f"[#] kill {pid} ({name})")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while _alive(pid_file):
        if time.monotonic() > deadline:
            raise ToolError(f"{name} (process {pid}) does not end", f"kill -KILL {pid}")
        time.sleep(0.2)
    pid_file.unlink(missing_ok=True)
