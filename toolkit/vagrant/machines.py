# SPDX-License-Identifier: GPL-2.0
"""./inv vagrant-test: the machines of the Vagrantfile, and the tests against them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.checks import outcome
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.kernels import source as sources
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import build
from toolkit.lab import lab as labs
from toolkit.run import run, say
from toolkit.vagrant import box as boxes
from toolkit.vagrant import libvirtd, wheels

FOLDER = paths.LOGS / "vagrant"
ENDS = ("l2wg-a", "l2wg-b")
THIRD = "l2wg-c"
UP_LIMIT = 1800  # seconds; under TCG, with other load
TEST_LIMIT = 3600
#: The version of the module in the upgrade test
NEXT = "1.0.0-next"


@dataclass(frozen=True)
class Ran:
    """The result of a run.

    :ivar machines: name -> `uname -r` there.
    :ivar up: seconds until they were up and provisioned.
    """

    machines: Mapping[str, str]
    outcome: Outcome
    up: float


def test(
    kernel: Kernel,
    *,
    box: str | None = None,
    third: bool = False,
    hub: bool = False,
    setup: bool = False,
    keep: bool = False,
    only: str | None = None,
) -> bool:
    """Make the machines, run tests/vagrant against them, destroy them; did all pass?

    :param kernel: of our own box.
    :param box: another box, by Vagrant's name for it.
    :param third: also start C, on A's Ethernet; without it, a namespace on A stands for C.
    :param hub: start C as a machine of its own instead, and test A as a hub of B and C.
    :param setup: set libvirt up if necessary, see :mod:`toolkit.vagrant.libvirtd`.
    :param keep: leave the machines and libvirt running.
    :param only: pytest's -k.
    :raises ToolError: no libvirt, no box, or a machine does not come up.
    """
    started = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    # first, because the rest takes minutes
    libvirtd.check(setup=setup)
    env = {"L2WG_C": "1" if third else "0", "L2WG_CONSOLE": str(FOLDER)}
    env["L2WG_HUB"] = "1" if hub else "0"
    env["L2WG_DRIVER"] = "kvm" if labs.make(kernel).kvm_works() else "qemu"
    _next_version(kernel)
    if box:
        env["L2WG_BOX"] = box
        wheels.make()
    else:
        env["L2WG_BOX"] = boxes.prepare(kernel).name
    with libvirtd.ready(setup=setup, keep=keep) as pool:
        if pool:
            env["L2WG_POOL"] = pool
        try:
            ran = _up_and_test(env, only)
        finally:
            if not keep:
                destroy(env)
    if keep:
        words = " ".join(f"{k}={v}" for k, v in sorted(env.items()) if k != "L2WG_CONSOLE")
        say(f"The machines stay: {words} vagrant ssh l2wg-a")
        say("To end them: ./inv vagrant-test --destroy")
    print()
    for name, release in ran.machines.items():
        print(f"{name}: Linux {release}, {env['L2WG_BOX']}, {env['L2WG_DRIVER']}")
    print(f"up and provisioned in {ran.up:.0f} s, all in {time.monotonic() - started:.0f} s")
    print(*ran.outcome.told(), ran.outcome, sep="\n")
    return not ran.outcome.failed


def destroy(env: Mapping[str, str] | None = None) -> None:
    """End the machines, all of them."""
    _vagrant({**(env or {}), "L2WG_C": "1"}, "destroy", "--force", timeout=600)


def end() -> None:
    """./inv vagrant-test --destroy: end the machines, and libvirt if we have set it up."""
    if libvirtd.answers():
        destroy()
    if libvirtd.is_ours():
        libvirtd.undo()


def _vagrant(env: Mapping[str, str], *argv: str, timeout: float, show: bool = True) -> str:
    done = run(
        ["vagrant", *argv],
        cwd=paths.ROOT,
        env={"VAGRANT_DEFAULT_PROVIDER": "libvirt", **env},
        timeout=timeout,
        show=show,
        hint=f"the machines' consoles: {FOLDER}",
    )
    return done.stdout or ""


def _up_and_test(env: Mapping[str, str], only: str | None) -> Ran:
    started = time.monotonic()
    say("Starting the machines (vagrant up)")
    _vagrant(env, "up", "--provider", "libvirt", timeout=UP_LIMIT)
    up = time.monotonic() - started
    config = FOLDER / "ssh-config"
    config.write_text(_vagrant(env, "ssh-config", timeout=300, show=False))
    machines = {
        name: run(["ssh", "-F", config, name, "uname", "-r"], timeout=120).stdout.strip()
        for name in re.findall(r"^Host (\S+)$", config.read_text(), re.MULTILINE)
    }
    report = FOLDER / "report.xml"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "--tb=short", "--durations=5"),
            *("-p", "no:cacheprovider", f"--junit-xml={report}", "tests/vagrant"),
            *(["-k", only] if only else []),
        ],
        cwd=paths.ROOT,
        env={**os.environ, **env, "L2WG_SSH_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
        timeout=TEST_LIMIT,
        check=False,
    )
    seconds = time.monotonic() - started
    return Ran(machines, outcome.read("machines", report, seconds, done.returncode), up)


def _next_version(kernel: Kernel) -> Path:
    """Build the module again as a later version, to upgrade to."""
    source = sources.of(kernel)
    tree = paths.fresh(FOLDER / "next/linux")
    shutil.copytree(source.driver, tree / sources.DRIVER)
    if source.tree:
        # it says which version it is
        shutil.copyfile(source.tree / "Makefile", tree / "Makefile")
    header = tree / sources.DRIVER / "version.h"
    text, changed = re.subn(r'(WIREGUARD_VERSION) ".*"', rf'\1 "{NEXT}"', header.read_text())
    if changed != 1:
        raise ToolError(f"{header} does not name a version")
    header.write_text(text)
    file = build.build(kernel, source=tree, output=FOLDER / "next").file
    file.with_suffix(".release").write_text(kernel.release)
    return file
