# SPDX-License-Identifier: GPL-2.0
"""Kernels of our own: Debian's source with a configuration that finds faults.

Each is made once and stays in the cache, under a name that says of what: the version of the source
and a digest of the configuration and the compiler. What is kept of the tree suffices to boot the
kernel and to build modules for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from toolkit import needs, paths
from toolkit.arch import architecture
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive
from toolkit.run import run, say

HERE = Path(__file__).parent

#: How a kernel is made and what is kept of it; raise it when either changes.
RECIPE = 1

#: Folders of which kconfig reads the Kconfig files, and nobody anything else: they take two thirds
#: of the disk that the whole source takes.
LEFT_OUT = (
    *("Documentation", "sound", "samples", "tools/testing/selftests/bpf"),
    *(f"drivers/{name}" for name in ("gpu", "infiniband", "iio", "media", "scsi", "staging")),
    *(f"arch/{name}" for name in ("arm", "arm64", "mips", "powerpc", "riscv", "s390", "sparc")),
)
SOURCES = ("c", "h", "S", "rst", "txt", "yaml", "dts", "dtsi", "dtso", "json")

#: The part of every configuration that the tests ask for.
NETWORK = "network"

#: What modules are built with, of a tree that has been built; and the driver's source and test.
#: (objtool is a program, of some architectures only.)
KEPT = ("arch", "include", "scripts")
WHOLE = ("drivers/net/wireguard", "tools/testing/selftests/wireguard", "tools/objtool/objtool")
#: Which of their files are built into the kernel, or what that left.
BUILT = (".o", ".a", ".S", ".cmd", ".ko", ".mod")


@dataclass(frozen=True)
class Recipe:
    """How a kernel of our own is made.

    :ivar name: what ``--kernel`` calls it.
    :ivar arch: kbuild's ``ARCH``.
    :ivar target: kbuild's target for the image.
    :ivar image: where that is then in the tree.
    :ivar series: of Debian's ``linux-source-SERIES``.
    :ivar codename: the Debian release that serves it.
    :ivar parts: of its configuration, ``PART.config`` beside this file.
    :ivar words: more for kbuild, when the kernel is made; not when a module is.
    :ivar header: a file beside this one that is put into the tree, for ``words`` to name.
    :ivar boot: of its command line.
    :ivar program: it runs as a program here, and not in QEMU.
    :ivar counts: it counts which lines of our module have run (gcov).
    """

    name: str
    arch: str
    target: str
    image: str
    series: str
    codename: str
    parts: tuple[str, ...] = field(repr=False)
    words: tuple[str, ...] = field(default=(), repr=False)
    header: str = field(default="", repr=False)
    boot: tuple[str, ...] = field(default=(), repr=False)
    program: bool = field(default=False, repr=False)
    counts: bool = field(default=False, repr=False)

    @property
    def configuration(self) -> str:
        """What differs from the defaults, as the lines of a ``.config``."""
        first, *others = ((HERE / f"{part}.config").read_text() for part in self.parts)
        # the license once
        return first + "".join(text.split("\n", 1)[1] for text in others)

    def digest(self) -> str:
        """Of all that decides what comes out, but for the source."""
        compiler = run(["gcc", "--version"], hint="apt-get install gcc").stdout
        parts = [str(RECIPE), repr(self), self.configuration, compiler, *self.words]
        if self.header:
            parts.append((HERE / self.header).read_text())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


#: Linux as a program on this machine: native speed without KVM. It is preemptible from 6.7 on,
#: without which there is no DEBUG_ATOMIC_SLEEP.
#: Of the architectures of ours, it has been ported to x86 alone.
PROGRAM = ("um", "linux", "linux", "6.12", "bookworm")
UML = Recipe(
    *("uml", *PROGRAM, ("um", "uml", NETWORK)),
    words=("CFLAGS_stacktrace.o=-include frames.h",),
    header="frames.h",
    program=True,
    counts=True,
)
#: The same for millions of frames, which would take days with all that UML finds faults with. Its
#: slabs have sanity checks, red zones and poison.
NATIVE = Recipe(
    *("native", *PROGRAM, ("um", "native", NETWORK)), boot=("slab_debug=FZP",), program=True
)
#: Several processors at the same time, for races. KCSAN watches what our module does alone: the
#: rest of Linux would cost much, and what it would find is not ours.
SMP = Recipe(
    *("smp", "x86_64", "bzImage", "arch/x86/boot/bzImage", "6.12", "bookworm", ("smp", NETWORK)),
    words=("KCSAN_SANITIZE=n",),
)

RUNS_ON = "amd64"
RECIPES = {recipe.name: recipe for recipe in (UML, NATIVE, SMP)}


@dataclass(frozen=True)
class Own:
    """A kernel of our own in the cache.

    :ivar tree: what modules are built with; it knows its own architecture.
    """

    recipe: Recipe
    tree: Path

    @property
    def image(self) -> Path:
        """The kernel's image."""
        return self.tree.parent / "image"

    @property
    def release(self) -> str:
        """What ``uname -r`` says there."""
        return (self.tree / "include/config/kernel.release").read_text().strip()

    @property
    def modules(self) -> Path:
        """The folder with its modules, ``.../lib/modules/RELEASE``."""
        return self.tree.parent / "lib/modules" / self.release


def _folder() -> Path:
    return paths.cache() / "own"


def of(build: Path) -> Own | None:
    """The kernel of our own whose build folder that is, if it is one's."""
    folder = build.parent
    recipe = RECIPES.get(folder.name.split("-")[0])
    return Own(recipe, build) if recipe and folder.parent == _folder() else None


def cached(recipe: Recipe) -> Own | None:
    """The kernel of this recipe that was made last, whatever its source's version."""
    made = list(_folder().glob(f"{recipe.name}-*-{recipe.digest()}"))
    last = max(made, key=lambda folder: folder.stat().st_mtime, default=None)
    return Own(recipe, last / "tree") if last else None


def make(recipe: Recipe) -> Own:
    """The kernel of the newest source that Debian serves, built unless it is in the cache.

    :raises ToolError: it is not, and cannot be built; the build's log is kept.
    """
    if architecture() != RUNS_ON:
        raise ToolError(
            f"--kernel {recipe.name}: runs on {RUNS_ON} only, and this machine is {architecture()}",
            "name a kernel of Debian's: --kernel newest",
        )
    archive = Archive(recipe.codename)
    package = archive.get(f"linux-source-{recipe.series}")
    target = _folder() / f"{recipe.name}-{package.version}-{recipe.digest()}"
    with paths.alone(target):
        if not target.exists():
            say(
                f"Building the kernel {recipe.name} from {package.name} {package.version}: "
                "10 to 20 minutes on 2 cores, once"
            )
            needs.ensure("own-kernel")
            started, deb = time.monotonic(), archive.fetch(package)
            with paths.built_whole(target) as work:
                _build(recipe, deb, work)
            say(f"The kernel {recipe.name} is built ({time.monotonic() - started:.0f} s)")
    return Own(recipe, target / "tree")


def _build(recipe: Recipe, deb: Path, work: Path) -> None:
    tree = work / "tree"
    unpack_source(deb, tree)
    log = paths.LOGS / f"kernel-{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    wanted = tree / "wanted.config"
    wanted.write_text(recipe.configuration)
    if recipe.header:
        shutil.copy(HERE / recipe.header, tree)

    def kbuild(*words: str) -> None:
        jobs = f"-j{len(os.sched_getaffinity(0))}"
        make = ["make", "-s", jobs, "-C", str(tree), f"ARCH={recipe.arch}", *recipe.words, *words]
        run(make, env={"KCONFIG_ALLCONFIG": str(wanted)}, log=log)

    kbuild("alldefconfig")
    if refused := disagreements(recipe.configuration, (tree / ".config").read_text()):
        raise ToolError(
            f"toolkit/kernels/{{{','.join(recipe.parts)}}}.config: "
            f"Linux {recipe.series} does not take {', '.join(refused)}",
            "mend the line, or give what that option depends on",
        )
    kbuild(recipe.target, "modules")
    # no depmod: the lab runs it, with our module among them
    kbuild("modules_install", f"INSTALL_MOD_PATH={work}", "DEPMOD=true")
    shutil.copyfile(tree / recipe.image, work / "image")
    (work / "image").chmod(0o755)
    prune(tree)
    # whoever builds a module here need not know for which architecture
    makefile = tree / "Makefile"
    makefile.write_text(f"ARCH := {recipe.arch}\n{makefile.read_text()}")
    log.unlink()


def disagreements(wanted: str, have: str) -> list[str]:
    """Lines of a configuration that kconfig has not taken over, ``NAME=value``."""
    lines = have.splitlines()
    refused = []
    for line in wanted.splitlines():
        if off := re.fullmatch(r"# (CONFIG_\w+) is not set", line):
            refused += [f"{off[1]}=n"] * any(x.startswith(f"{off[1]}=") for x in lines)
        elif line.startswith("CONFIG_") and line not in lines:
            refused.append(line)
    return refused


def unpack_source(deb: Path, tree: Path) -> None:
    """The tree of a linux-source package, without what no kernel of ours is built from.

    :raises ToolError: it cannot be unpacked.
    """
    tree.mkdir()
    say(f"Unpacking {deb.name}")
    pipeline: list[list[str]] = [
        ["dpkg-deb", "--fsys-tarfile", str(deb)],
        ["tar", "--extract", "--to-stdout", "--wildcards", "*/linux-source-*.tar.xz"],
        [
            *("tar", "--extract", "--xz", "--directory", str(tree), "--strip-components=1"),
            *(f"--exclude=*/{folder}/*.{end}" for folder in LEFT_OUT for end in SOURCES),
        ],
    ]
    running: list[subprocess.Popen[bytes]] = []
    for argv in pipeline:
        before = running[-1].stdout if running else subprocess.DEVNULL
        out = subprocess.PIPE if argv is not pipeline[-1] else None
        running.append(subprocess.Popen(argv, stdin=before, stdout=out))
        if not isinstance(before, int) and before:
            before.close()
    if any([process.wait() for process in running]) or not (tree / "Makefile").exists():
        raise ToolError(f"{deb}: cannot be unpacked", "tar's line above says why")


def prune(tree: Path) -> None:
    """Leave of a built tree what modules are built with, and WireGuard's own source and test."""
    for entry in [*tree.iterdir()]:
        if entry.is_dir() and entry.name not in KEPT:
            with tempfile.TemporaryDirectory(dir=tree.parent) as aside:
                whole = (n for n in WHOLE if n.startswith(f"{entry.name}/"))
                for name in (n for n in whole if (tree / n).exists()):
                    (Path(aside) / name).parent.mkdir(parents=True)
                    (tree / name).rename(Path(aside) / name)
                shutil.rmtree(entry)
                if (Path(aside) / entry.name).exists():
                    (Path(aside) / entry.name).rename(entry)
    for name in ("linux", "vmlinux", "vmlinux.a", "vmlinux.o"):
        (tree / name).unlink(missing_ok=True)
    for folder, _, names in os.walk(tree):
        for name in names:
            if name.endswith(BUILT):
                (Path(folder) / name).unlink()
