# SPDX-License-Identifier: GPL-2.0
"""Building l2wireguard.ko with a kernel's own kbuild."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels import own
from toolkit.kernels import source as sources
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.source import DRIVER, Source
from toolkit.kmod import patching, signing, toolchain
from toolkit.kmod.signing import Signer
from toolkit.kmod.toolchain import Toolchain, cross_prefix
from toolkit.run import run, say

MODULE = "l2wireguard"
ALIAS = "rtnl-link-l2wireguard"

#: What a module that is not for debugging goes through (the kernel's INSTALL_MOD_STRIP=1).
STRIP = ("strip", "--strip-debug")

#: What a compiler says if the kernel was configured for another one -> why
REFUSALS = (
    (r"unrecognized command-line option '?‘?([^'’;]+)", "does not know the kernel's option {}"),
    (r"(incompatible gcc/plugin versions)", "has {}"),
    (r"(Compiler lacks asm-goto support)", "is too old: {}"),
    (r"(?:error: code model kernel|sorry, unimplemented: )()", "cannot build kernel code{}"),
)


@dataclass(frozen=True)
class Module:
    """A built module.

    :ivar file: ``l2wireguard.ko``.
    :ivar kernel: what it is for.
    :ivar source: what it was built from.
    :ivar fresh: it was built now, not found up to date.
    """

    file: Path
    kernel: Kernel
    source: Source
    fresh: bool


def build(
    kernel: Kernel,
    *,
    source: Path | None = None,
    output: Path | None = None,
    debug: bool = False,
    signer: Signer | None = None,
) -> Module:
    """Build the module for a kernel, unless that has been done from the same inputs.

    :param source: kernel tree or driver folder to take instead of Debian's.
    :param output: folder for the module; ``build/<release>`` by default.
    :param debug: WireGuard's own self-tests at load, debug messages, debug information.
    :param signer: who signs it.
    :raises ToolError: there is no source for it, or the build fails (its log is kept).
    """
    wireguard = sources.of(kernel, source)
    folder = (output or paths.BUILD / (kernel.release + ("-debug" if debug else ""))).resolve()
    file = folder / f"{MODULE}.ko"
    tools = toolchain.of(kernel)
    inputs = _fingerprint(kernel, wireguard, tools, debug, signer)
    if _up_to_date(file, inputs):
        return Module(file, kernel, wireguard, fresh=False)
    say(f"Building {MODULE}.ko for {kernel.label} with {tools.label}")
    with tempfile.TemporaryDirectory(prefix="l2wg-build-") as work:
        built = _kbuild(kernel, wireguard, tools, Path(work), debug=debug)
        _check(built, kernel)
        if signer:
            signing.sign(built, signer, kernel)
        _put(built, file, inputs)
        _keep_notes(built.parent, folder)
    return Module(file, kernel, wireguard, fresh=True)


def _fingerprint(
    kernel: Kernel,
    source: Source,
    tools: Toolchain,
    debug: bool,
    signer: Signer | None = None,
) -> str:
    """A hash over all that the module depends on."""
    digest = hashlib.sha256()

    def add(*parts: str | bytes) -> None:
        for part in parts:
            digest.update(part.encode() if isinstance(part, str) else part)
            digest.update(b"\0")

    add(kernel.release, kernel.version, str(debug), *([] if debug else STRIP))
    add(os.environ.get("KCFLAGS", ""), signer.identity if signer else "")
    add(tools.run([tools.compiler, "--version"], hint="apt-get install gcc, or set CC"))
    for name in (".config", "Module.symvers"):
        path = kernel.build / name
        add(name, path.read_bytes() if path.exists() else b"")
    for path in sorted(source.driver.rglob("*.[ch]")) + [source.driver / "Makefile"]:
        add(str(path.relative_to(source.driver)), path.read_bytes())
    for path in patching.series():
        add(path.name, path.read_bytes())
    for name, text in patching.own_files().items():
        add(name, text)
    add(patching.render("Kbuild.j2", debug=debug))
    return digest.hexdigest()


def _stamp(file: Path) -> Path:
    return file.with_suffix(".json")


def _up_to_date(file: Path, inputs: str) -> bool:
    try:
        stamp = json.loads(_stamp(file).read_text())
        return bool(
            stamp["inputs"] == inputs
            and stamp["module"] == hashlib.sha256(file.read_bytes()).hexdigest()
        )
    except (OSError, ValueError, KeyError):
        return False


def prepare(work: Path, source: Source, kernel: str, *, debug: bool = False) -> Path:
    """A patched copy of the driver with our files and a Kbuild, ready for ``make M=``."""
    driver = work / DRIVER
    shutil.copytree(source.driver, driver)
    patching.add_to(driver, work, kernel)
    (driver / "Kbuild").write_text(patching.render("Kbuild.j2", debug=debug))
    return driver


def _kbuild(kernel: Kernel, source: Source, tools: Toolchain, work: Path, *, debug: bool) -> Path:
    driver = prepare(work, source, f"Linux {source.version or kernel.version}", debug=debug)
    log = paths.LOGS / f"build-{kernel.release}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        tools.run(make_argv(kernel, driver, tools.compiler), work, log=log)
    except ToolError:
        raise _why(log, kernel, tools) from None
    log.unlink()
    module = driver / f"{MODULE}.ko"
    if module.exists() and not debug:
        # as distributions do: DWARF is 97 % of the file, and each load reads all of it
        tools.run([cross_prefix(kernel) + STRIP[0], *STRIP[1:], module], work)
    return module


def make_argv(kernel: Kernel, driver: Path, compiler: str, *more: str) -> list[str]:
    """The kbuild command line for a driver folder that prepare() made."""
    jobs = len(os.sched_getaffinity(0))
    cross = kernel.foreign
    return [
        "make",
        f"-j{jobs}",
        "-C",
        str(kernel.build),
        f"M={driver}",
        f"CC={compiler}",
        *([f"ARCH={cross.linux}", f"CROSS_COMPILE={cross_prefix(kernel)}"] if cross else []),
        f"KCFLAGS={_anywhere(kernel, driver)}",
        # which lines have run: of ours alone, the kernel's own would be slow
        *(["GCOV_PROFILE=y"] if (mine := own.of(kernel.build)) and mine.recipe.counts else []),
        *more,
        "modules",
    ]


def _anywhere(kernel: Kernel, driver: Path) -> str:
    """Compiler flags that make the same module in whatever folders.

    WARN_ON() puts a file's name into the module, and the build ID is also a hash over debug
    information, which has the names of all folders. These flags cannot be a variable of our Kbuild,
    because that has no influence on how kbuild compiles l2wireguard.mod.c.
    """
    maps = {f"{driver}/": f"{DRIVER}/"}
    if kernel.package:
        # as if the headers were installed
        maps[f"{kernel.build.parent}/"] = "/usr/src/"
    flags = [f"-ffile-prefix-map={old}={new}" for old, new in maps.items()]
    return " ".join([*filter(None, [os.environ.get("KCFLAGS")]), *flags])


def _why(log: Path, kernel: Kernel, tools: Toolchain) -> ToolError:
    """The first thing that went wrong, out of a build's log."""
    text = log.read_text(errors="replace")
    for pattern, why in REFUSALS:
        if match := re.search(pattern, text):
            first = tools.run([tools.compiler, "--version"]).splitlines()[0]
            return ToolError(
                f"the compiler {first} {why.format(match[1].strip())}: {kernel.label} refuses it",
                "use the compiler of that kernel's release, CC=gcc-N",
                log=log,
            )
    error = re.search(r"^(?:.*/)?([^/\s]+:\d+:\d+): (?:fatal )?error: (.*)$", text, re.MULTILINE)
    if error:
        return ToolError(f"{error[1]}: {error[2]} (building for {kernel.label})", log=log)
    if " undefined!" in text and not (kernel.build / "Module.symvers").exists():
        return ToolError(
            f"{kernel.build}: has no Module.symvers, which lists what modules may use",
            "build that kernel there first, `make vmlinux modules`",
            log=log,
        )
    last = re.findall(r"^(?:make.*: \*\*\* .*|ERROR: .*|.*error: .*)$", text, re.MULTILINE)
    reason = last[0] if last else "no reason given"
    return ToolError(f"building for {kernel.label} failed: {reason}", log=log)


def _check(module: Path, kernel: Kernel) -> None:
    """Will modprobe accept it there, and `ip link add` find it?"""
    if not module.exists():
        raise ToolError(f"kbuild of {kernel.release} made no {module.name}")
    magic = run(["modinfo", "--field", "vermagic", module]).stdout.split(" ")[0]
    if magic != kernel.release:
        raise ToolError(
            f"{module.name} is for {magic}, not for {kernel.release}",
            f"the headers in {kernel.build} are another kernel's",
        )
    aliases = run(["modinfo", "--field", "alias", module]).stdout.split()
    if ALIAS not in aliases or "rtnl-link-wireguard" in aliases:
        raise ToolError(f"{module.name} has the wrong aliases: {' '.join(aliases)}")


def _keep_notes(driver: Path, folder: Path) -> None:
    """What the compiler notes of the lines, for gcov; nothing but for a kernel of our own."""
    notes = folder / "gcno"
    shutil.rmtree(notes, ignore_errors=True)
    for note in driver.rglob("*.gcno"):
        kept = notes / note.relative_to(driver)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(note, kept)


def _put(built: Path, file: Path, inputs: str) -> None:
    """Put it into the output folder, before its stamp, which so never vouches for an old module."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".ko.new")
    shutil.copyfile(built, temporary)
    temporary.replace(file)
    stamp = {"inputs": inputs, "module": hashlib.sha256(file.read_bytes()).hexdigest()}
    temporary.write_text(json.dumps(stamp))
    temporary.replace(_stamp(file))
