# SPDX-License-Identifier: GPL-2.0
"""./inv sources: do the patches apply to every WireGuard driver that Debian serves?"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from debian.debian_support import Version
from rich.console import Console
from rich.progress import Progress

from toolkit import paths, tables
from toolkit.checks import marked
from toolkit.errors import ToolError
from toolkit.kernels import source as sources
from toolkit.kernels.archive import Archive, Package
from toolkit.kernels.kernel import RELEASES
from toolkit.kernels.source import DRIVER
from toolkit.kmod import patching
from toolkit.run import say

AT_A_TIME = 2


@dataclass(frozen=True)
class Tried:
    """One linux-source package, and whether the patches apply to it.

    :ivar trouble: the line of the patch that failed; empty if all went in and out again.
    :ivar here: the mirror has the package; its index may name some that are gone.
    """

    codename: str
    package: Package
    trouble: str = ""
    here: bool = True

    @property
    def shown(self) -> str:
        """For the table."""
        return (self.trouble or "apply") if self.here else "not on the mirror"

    @property
    def series(self) -> str:
        """``5.10``"""
        return self.package.name.removeprefix("linux-source-")


def served() -> Iterator[tuple[Archive, Package]]:
    """Every version of every linux-source package, each version once."""
    seen: set[str] = set()
    for codename in RELEASES:
        archive = Archive(codename)
        for package in archive.find(r"^linux-source-[0-9]+[.][0-9]+$"):
            if package.version not in seen:
                seen.add(package.version)
                yield archive, package


def sweep(*, write: bool = False) -> bool:
    """Try them all and print a table; did the patches apply to all?

    :param write: put the table into docs/kernels.md.
    """
    jobs = list(served())
    if not jobs:
        raise ToolError("apt: no release of Debian serves a linux-source package")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        total = progress.add_task(f"{len(jobs)} sources", total=len(jobs))

        def one(job: tuple[Archive, Package]) -> Tried:
            archive, package = job
            try:
                tree = _driver(archive, package, progress)
            except ToolError as error:
                say(f"{package.name} {package.version}: {error}")
                return Tried(archive.codename, package, here=False)
            try:
                try_one(tree, f"Linux {package.version}")
                return Tried(archive.codename, package)
            except ToolError as error:
                return Tried(archive.codename, package, str(error))
            finally:
                progress.advance(total)

        with ThreadPoolExecutor(AT_A_TIME) as pool:
            results = list(pool.map(one, jobs))
    results.sort(key=lambda r: Version(r.package.version))
    tables.show(
        [
            ["linux-source", "version", "from", "patches"],
            *(
                [r.series, r.package.version, r.codename, "fail" if r.trouble else r.shown]
                for r in results
            ),
        ],
        bad=[i for i, r in enumerate(results, 1) if r.trouble],
    )
    for r in results:
        if r.trouble:
            print(r.trouble)
    had = [r for r in results if r.here]
    good = sum(not r.trouble for r in had)
    print(f"{good} of {len(had)} sources take the {len(patching.series())} patches", end="")
    print(f"; {len(results) - len(had)} not on the mirror" if len(had) < len(results) else "")
    if write:
        marked.put("sources", document(results, _earlier()))
    return 0 < good == len(had)


def _driver(archive: Archive, package: Package, progress: Progress) -> Path:
    """The tree with the package's driver; the package is removed again if it was not here."""
    folder = sources.unpacked(package.version)
    if not folder.exists():
        store = paths.cache() / "debs"
        here = set(store.glob("*.deb"))
        deb = archive.fetch(package)
        sources.extract(deb, folder, progress)
        if deb not in here:
            deb.unlink()
    return folder


def try_one(tree: Path, label: str) -> None:
    """Put the patches into a copy of the tree's driver, without fuzz, and take them out again.

    :raises ToolError: one does not apply, or taking them out does not restore the original.
    """
    with tempfile.TemporaryDirectory(prefix="l2wg-sweep-") as temporary:
        root = Path(temporary)
        copy = root / DRIVER
        shutil.copytree(tree / DRIVER, copy)
        before = _content(copy)
        patching.add_to(copy, root, label)
        patching.remove_from(copy, root, label)
        if _content(copy) != before:
            raise ToolError(f"{label}: the patches come out again, but leave something behind")


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


#: What the document says of a source that was tried and has gone from the mirror since.
NO_LONGER = "apply; gone from the mirror"


def _earlier() -> dict[tuple[str, str], str]:
    """What the document says: (series, version) -> what the patches did."""
    found = {}
    for table in marked.tables("sources"):
        for series, versions, what in table[1:]:
            found.update({(series, version): what for version in versions.split(", ")})
    return found


def document(results: list[Tried], earlier: Mapping[tuple[str, str], str] = {}) -> str:  # noqa: B006
    """The results as Markdown: a row for each series, and for each source that refused.

    :param earlier: of runs before; a result stays when the mirror has lost the source.
    """
    now = {(r.series, r.package.version): r.shown for r in results if r.here}
    lost = {
        key: NO_LONGER if earlier.get(key, "").startswith("apply") else "not on the mirror"
        for key in [*earlier, *((r.series, r.package.version) for r in results)]
        if key not in now
    }
    groups: dict[tuple[str, str], list[str]] = {}
    for (series, version), what in sorted(
        {**now, **lost}.items(), key=lambda x: (Version(x[0][0]), Version(x[0][1]))
    ):
        groups.setdefault((series, what), []).append(version)
    rows = [["linux-source", "versions", "patches"]]
    rows += [[series, ", ".join(versions), what] for (series, what), versions in groups.items()]
    had = [r for r in results if r.here]
    good = sum(not r.trouble for r in had)
    return f"{good} of {len(had)} sources take the patches.\n\n{tables.markdown(rows)}"
