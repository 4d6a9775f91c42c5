# SPDX-License-Identifier: GPL-2.0
"""The WireGuard drivers that the DKMS package carries: patched, and each only once."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.debian_support import Version

from toolkit.errors import ToolError
from toolkit.kernels import kernel as kernels
from toolkit.kernels import source as sources
from toolkit.kernels.archive import Archive, Package
from toolkit.kernels.source import Source
from toolkit.kmod import build, patching
from toolkit.run import say

#: Debian releases whose kernels the package is for: all except the one in development.
RELEASES = tuple(release for release in kernels.RELEASES if release != "sid")


@dataclass(frozen=True)
class Origin:
    """A driver and its origin.

    :ivar source: the driver.
    :ivar name: for people: ``linux-source-6.1 6.1.192-2``.
    """

    source: Source
    name: str

    @property
    def version(self) -> str:
        """The upstream version, which names the driver's folder."""
        assert self.source.version
        return self.source.version


def series_of(version: str) -> str:
    """``6.1`` of ``6.1.192``."""
    return ".".join(version.split(".")[:2])


def served() -> dict[str, list[tuple[Archive, Package]]]:
    """The linux-source packages that Debian serves, by series, oldest first."""
    found: dict[str, list[tuple[Archive, Package]]] = {}
    for codename in RELEASES:
        archive = Archive(codename)
        for package in archive.find(r"^linux-source-[0-9]+[.][0-9]+$"):
            found.setdefault(package.name.rsplit("-", 1)[1], []).append((archive, package))
    for packages in found.values():
        packages.sort(key=lambda p: Version(p[1].version))
    return dict(sorted(found.items(), key=lambda s: Version(s[0])))


def _first(packages: Iterable[tuple[Archive, Package]]) -> Origin:
    """The first that can be fetched: an index may name packages that the mirror has dropped."""
    trouble: ToolError | None = None
    for archive, package in packages:
        try:
            source = sources.packaged(archive, package)
        except ToolError as error:
            trouble = trouble or error
            continue
        return Origin(source, f"{package.name} {package.version}")
    assert trouble
    raise trouble


def origins(given: Sequence[Path] = ()) -> list[Origin]:
    """What to carry: Debian's drivers, and the user's own trees.

    :param given: kernel trees, for series that Debian does not have.
    :raises ToolError: one of them is no kernel tree, or does not tell its version.
    """
    found = []
    for path in given:
        source = sources.from_folder(path)
        if not source.version:
            raise ToolError(
                f"{path}: does not tell its kernel version", "name the whole tree, not the driver"
            )
        found.append(Origin(source, f"{path.name}, Linux {source.version}"))
    for packages in served().values():
        # The oldest and the newest: a change of the driver between them is in the newest.
        found += [_first(packages), _first(reversed(packages))]
    return found


def carry(folder: Path, all_origins: Iterable[Origin]) -> list[Origin]:
    """Put the patched drivers into ``folder``, each in a folder named by its version.

    A driver that equals that of the version before it in its series is left out, because the choice
    of the nearest one that is not newer finds the earlier one. Our own files are not in them.

    :returns: the drivers that were put there, by version.
    :raises ToolError: a patch does not apply.
    """
    carried: list[Origin] = []
    before = ""
    for origin in sorted(all_origins, key=lambda o: Version(o.version)):
        if carried and carried[-1].version == origin.version:
            continue
        with tempfile.TemporaryDirectory(prefix="l2wg-tree-") as work:
            driver = build.prepare(Path(work), origin.source, f"Linux {origin.version}")
            for name in [*patching.own_files(), "Kbuild"]:
                (driver / name).unlink()
            digest = series_of(origin.version) + _digest(driver)
            if digest == before:
                say(f"  {origin.version}: same as {carried[-1].version}")
                continue
            before = digest
            carried.append(origin)
            say(f"  {origin.version}: {origin.name}")
            target = folder / origin.version
            shutil.copytree(driver, target)
            for file in target.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
    return carried


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def all_series(carried: Iterable[Origin]) -> list[str]:
    """The series that are carried, oldest first."""
    known = {series_of(o.version) for o in carried}
    return sorted(known, key=lambda s: [int(n) for n in re.findall(r"\d+", s)])
