# SPDX-License-Identifier: GPL-2.0
"""Which kernel: from the user's word for it to the folder that kbuild builds a module with."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit import arch, paths
from toolkit.arch import Arch, architecture
from toolkit.errors import ToolError
from toolkit.kernels import own
from toolkit.kernels.archive import Archive, Package, unpack
from toolkit.run import run, say

DEFAULT = "5.10"

#: Debian releases in which we look for a kernel, and the series that each serves, its own first. A
#: series without a release means the kernel of the release whose own series it is.
RELEASES: dict[str, tuple[str, ...]] = {
    "bullseye": ("5.10", "6.1"),
    "bookworm": ("6.1", "6.12"),
    "trixie": ("6.12",),
    "sid": (),
}

#: How `uname -r` names the release that a kernel was built in (6.12.117+deb12-amd64).
BUILT_IN = {"deb11": "bullseye", "deb12": "bookworm", "deb13": "trixie", "deb14": "sid"}

#: `--kernel newest`: the newest kernel of Debian stable and its backports.
NEWEST = "newest"
NEWEST_IN = "trixie"


@dataclass(frozen=True)
class Kernel:
    """A kernel to build for.

    :ivar release: what `uname -r` says there, ``5.10.0-46-amd64``.
    :ivar build: kernel build folder (headers, configuration, kbuild).
    :ivar package: the headers' package; None if the build folder is the user's own.
    :ivar archive: the archive of that package.
    """

    release: str
    build: Path
    package: Package | None = None
    archive: Archive | None = None

    @functools.cached_property
    def version(self) -> str:
        """The upstream version of the headers, ``5.10.262``."""
        make = run(
            ["make", "--no-print-directory", "-s", "-C", self.build, "kernelversion"],
            hint=f"is {self.build} a kernel build folder?",
        )
        return make.stdout.strip().splitlines()[-1]

    @functools.cached_property
    def foreign(self) -> Arch | None:
        """The kernel's architecture, as its configuration says it, if it is not this machine's."""
        try:
            with (self.build / ".config").open() as file:
                head = file.read(200)
        except OSError:
            return None
        found = re.search(r"^# Linux/(\w+) ", head, re.MULTILINE)
        names = (name for name, known in arch.KNOWN.items() if found and known.linux == found[1])
        return arch.other(next(names, ""))

    @property
    def label(self) -> str:
        """For messages: the release and the version behind it."""
        return f"{self.release} (Linux {self.version})"


def headers_of(release: str) -> Path:
    """Where an installed kernel's headers are."""
    return Path("/lib/modules") / release / "build"


#: What is to be done with a kernel as soon as it is known, before its headers are here.
Known = Callable[[Kernel], object]


def resolve(wanted: str | None, known: Known = lambda _: None) -> Kernel:
    """The kernel that ``wanted`` names; its headers are fetched when they are not here.

    :param wanted: ``running``, ``newest``, a series (``5.10``), a series as a Debian release
        builds it (``6.12+deb12``), each for another architecture (``6.1-arm64``), a release
        (``5.10.0-46-amd64``), a kernel of our own (``uml``), a kernel build folder, or None: the
        running kernel if its headers are here, otherwise 5.10.
    :param known: called with a kernel of Debian's archive before its headers are fetched. Its
        ``version`` can't be asked for yet.
    :raises ToolError: there is no such kernel, or no headers for it.
    """
    here = os.uname().release
    if wanted is None:
        if (headers_of(here) / "Makefile").exists():
            wanted = "running"
        else:
            say(f"No headers for the running kernel {here}: building for {DEFAULT}")
            wanted = DEFAULT
    if "/" in wanted or wanted == ".":
        return _from_folder(Path(wanted))
    if wanted == "running":
        if not (headers_of(here) / "Makefile").exists():
            raise ToolError(
                f"no headers for the running kernel {here} in {headers_of(here)}",
                f"apt-get install linux-headers-{here}, or name a kernel: --kernel {DEFAULT}",
            )
        return _installed(here)
    if recipe := own.RECIPES.get(wanted):
        return _from_folder(own.make(recipe).tree)
    word = rf"(?:({NEWEST})|(\d+\.\d+)(?:\+(deb\d+))?)(?:-({'|'.join(arch.KNOWN)}))?"
    if match := re.fullmatch(word, wanted):
        newest, series, built_in, name = match.groups()
        if newest:
            return _from_series(wanted, r"[0-9]+[.][0-9]+", [NEWEST_IN], name, known)
        return _from_series(wanted, re.escape(series), _codenames(series, built_in), name, known)
    if re.match(r"\d+\.\d+", wanted):
        return _from_release(wanted, known)
    raise ToolError(
        f"--kernel {wanted}: neither `running`, a series, a release nor a folder",
        f"write --kernel {DEFAULT}, --kernel 5.10.0-46-amd64 or --kernel /path/to/build",
    )


def release_of(wanted: str) -> str:
    """The release that ``wanted`` names, for callers that need no headers.

    :param wanted: see :func:`resolve`; a word that looks like a release is taken as one.
    :raises ToolError: see :func:`resolve`.
    """
    if wanted == "running":
        return os.uname().release
    return wanted if re.match(r"\d+\.\d+\.\S*-", wanted) else resolve(wanted).release


def _from_folder(folder: Path) -> Kernel:
    if not (folder / "Makefile").exists():
        raise ToolError(f"{folder}: not a kernel build folder, it has no Makefile")
    named = folder / "include/config/kernel.release"
    if not named.exists():
        raise ToolError(
            f"{folder}: not a configured kernel build folder, it has no {named.name}",
            "run `make modules_prepare` there",
        )
    return Kernel(named.read_text().strip(), folder.resolve())


def _installed(release: str) -> Kernel:
    name = f"linux-headers-{release}"
    query = run(["dpkg-query", "--show", "--showformat", "${Version}", name], check=False)
    package = Package(name, query.stdout.strip()) if query.returncode == 0 else None
    archive = _archive_with(name, package.version) if package else None
    return Kernel(release, headers_of(release).resolve(), package, archive)


def _archive_with(name: str, version: str) -> Archive | None:
    for codename in RELEASES:
        archive = Archive(codename)
        if any(p.version == version for p in archive.find(f"^{re.escape(name)}$")):
            return archive
    return None


def _codenames(series: str, built_in: str | None) -> list[str]:
    """The releases to look for a series in, the most likely first."""
    if built_in:
        if built_in not in BUILT_IN:
            raise ToolError(
                f"--kernel {series}+{built_in}: no release of Debian that we know is {built_in}",
                f"known: {', '.join(f'{d} ({c})' for d, c in BUILT_IN.items())}",
            )
        return [BUILT_IN[built_in]]
    own = [c for c, known in RELEASES.items() if series in known[:1]]
    others = [c for c, known in RELEASES.items() if series in known[1:]]
    return own + others or list(RELEASES)


def _archive(codename: str, name: str | None) -> Archive:
    """A release's packages of an architecture; None: this machine's."""
    return Archive(codename, name if name and arch.other(name) else None)


def _from_series(
    wanted: str, series: str, codenames: list[str], name: str | None, known: Known
) -> Kernel:
    """The newest kernel of a series; without the mirror, the last one that was built.

    :param series: regular expression.
    :param name: of the architecture; this machine's by default.
    """
    flavour = name or architecture()
    for codename in codenames:
        archive = _archive(codename, name)
        # cloud, rt and the like have their flavour before the architecture
        plain = [
            p
            for p in archive.find(rf"^linux-headers-{series}[.][0-9].*-{flavour}$")
            if re.fullmatch(rf"[0-9.+a-z~-]+?-{flavour}", p.name[len("linux-headers-") :])
            and not re.search(r"-(rt|cloud)-", p.name)
        ]
        if plain:
            try:
                return _remember(wanted, _fetched(archive, plain[0], known))
            except ToolError as error:
                if last := _remembered(wanted):
                    say(f"{error}: going on with {last.release}")
                    return last
                raise
    served = dict.fromkeys(s for release in RELEASES.values() for s in release)
    raise ToolError(
        f"Linux {wanted}: no headers in {', '.join(codenames)}",
        f"known series: {', '.join(served)}; the newest of all: {NEWEST}",
    )


def _from_release(release: str, known: Known) -> Kernel:
    if (headers_of(release) / "Makefile").exists():
        return _installed(release)
    for codename in RELEASES:
        archive = _archive(codename, release.rpartition("-")[2])
        if found := archive.find(f"^{re.escape('linux-headers-' + release)}$"):
            return _fetched(archive, found[0], known)
    raise ToolError(
        f"no headers for {release}: neither in {headers_of(release)} nor in Debian "
        f"{', '.join(RELEASES)}",
        "name a series for its newest kernel: --kernel " + ".".join(release.split(".")[:2]),
    )


def _fetched(archive: Archive, package: Package, known: Known) -> Kernel:
    """Headers out of packages that are not installed: unpacked into the cache.

    kbuild's programs run here, whatever architecture the kernel is for.
    """
    here = Archive(archive.codename)
    release = package.name.removeprefix("linux-headers-")
    root = paths.cache() / "headers" / f"{release}_{package.version}"
    kernel = Kernel(release, root / "usr/src" / package.name, package, archive)
    known(kernel)
    wanted = [(archive, package)]
    for need in package.depends.split(","):
        if match := re.match(
            r"\s*(linux-(?:headers|kbuild)-[^\s(]+)(?:\s*\((>?=) ([^)]+)\))?", need
        ):
            # kbuild's dependency is `>=`; Debian built with the one of the same version
            of = here if match[1].startswith("linux-kbuild-") else archive
            wanted.append((of, of.get(match[1], package.version)))
    unpack([of.fetch(p) for of, p in wanted], root, _relocate)
    return kernel


def _relocate(root: Path) -> None:
    """Debian's headers name each other by absolute paths, but here they are elsewhere."""
    source = root / "usr/src"
    for makefile in source.glob("linux-headers-*/Makefile"):
        text = makefile.read_text()
        if "include /usr/src/" in text and len(text) < 500:
            # relative to the Makefile itself, so that the folder may move; `:=` because later the
            # last word is another Makefile
            here = "$(dir $(realpath $(lastword $(MAKEFILE_LIST))))../"
            text = re.sub(r"^(\w+) *:?= */usr/src/(?=\S+$)", rf"\1 := {here}", text, flags=re.M)
            text = re.sub(r"^include /usr/src/(?=\S+$)", f"include {here}", text, flags=re.M)
            makefile.write_text(text)
    for link in source.glob("linux-headers-*/*"):
        if link.is_symlink() and os.readlink(link).startswith("/"):
            goal = Path(str(root) + os.readlink(link))
            link.unlink()
            link.symlink_to(os.path.relpath(goal, link.parent))


def _memory(series: str) -> Path:
    return paths.cache() / "series" / f"{series}.json"


def _remember(series: str, kernel: Kernel) -> Kernel:
    assert kernel.package and kernel.archive
    file = _memory(series)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(
            {
                "release": kernel.release,
                "build": str(kernel.build),
                "package": [kernel.package.name, kernel.package.version, kernel.package.depends],
                "archive": kernel.archive.codename,
                "foreign": kernel.archive.foreign,
            }
        )
    )
    return kernel


def _remembered(series: str) -> Kernel | None:
    if not _memory(series).exists():
        return None
    data = json.loads(_memory(series).read_text())
    build = Path(data["build"])
    if not build.exists():
        return None
    archive = Archive(data["archive"], data.get("foreign"))
    return Kernel(data["release"], build, Package(*data["package"]), archive)
