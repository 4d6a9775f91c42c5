# SPDX-License-Identifier: GPL-2.0
"""The WireGuard driver's source for a kernel, and the tools that come with the kernel's source."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.progress import Progress

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive, Package
from toolkit.kernels.kernel import Kernel
from toolkit.run import say

DRIVER = Path("drivers/net/wireguard")

#: What a module is built from, of a linux-source package, which has 1.2 GB. What comes after it
#: need not be unpacked.
WANTED = (f"{DRIVER}/", "Makefile")
#: What tests take from there.
TOOLS = (
    "scripts/checkpatch.pl",
    "scripts/const_structs.checkpatch",
    "scripts/spelling.txt",
    "tools/testing/selftests/wireguard/",
)


@dataclass(frozen=True)
class Source:
    """A WireGuard driver of one kernel version.

    :ivar driver: its ``drivers/net/wireguard`` folder.
    :ivar tree: the tree that the driver is in, or the part of it that we have.
    :ivar version: upstream version, ``5.10.262``; None for a lone folder, which does not tell.
    """

    driver: Path
    tree: Path | None
    version: str | None


def of(kernel: Kernel, given: Path | None = None) -> Source:
    """The source that ``kernel``'s module is built from.

    :param given: the user's own kernel tree or ``drivers/net/wireguard`` folder.
    :raises ToolError: there is none, or its version is not that of the headers.
    """
    if given:
        source = from_folder(given)
    elif (kernel.build / DRIVER / "main.c").exists():
        # the build folder is a whole tree
        source = from_folder(kernel.build)
    elif kernel.package:
        source = _packaged(kernel)
    else:
        raise ToolError(
            f"{kernel.build}: has no {DRIVER}, and no Debian package tells where its source is",
            "name it: --source /path/to/linux",
        )
    if source.version and source.version != kernel.version:
        raise ToolError(
            f"source and headers of different versions: {source.driver} is Linux "
            f"{source.version}, {kernel.build} is Linux {kernel.version}",
            f"give --source a tree of Linux {kernel.version}",
        )
    return source


def from_folder(path: Path) -> Source:
    """The driver in a kernel tree, or in a ``drivers/net/wireguard`` folder.

    :raises ToolError: it is neither.
    """
    path = path.resolve()
    for driver, tree in ((path / DRIVER, path), (path, path.parent.parent.parent)):
        if (driver / "main.c").exists() and (driver / "noise.c").exists():
            version = tree_version(tree)
            if version is None:
                say(f"{driver} does not tell its kernel version: taking it as it is")
            return Source(driver, tree if version else None, version)
    raise ToolError(f"{path}: neither a kernel tree nor a {DRIVER} folder")


def tree_version(tree: Path) -> str | None:
    """The upstream version that a kernel tree's Makefile states, ``5.10.262``."""
    try:
        head = (tree / "Makefile").read_text(errors="replace")[:2000]
    except OSError:
        return None
    parts = [
        re.search(rf"^{name} = (\d+)$", head, re.MULTILINE)
        for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")
    ]
    return ".".join(m[1] for m in parts if m) if all(parts) else None


def _packaged(kernel: Kernel) -> Source:
    """The driver from the linux-source package of exactly the headers' version."""
    assert kernel.package
    series = ".".join(kernel.version.split(".")[:2])
    name, version = f"linux-source-{series}", kernel.package.version
    folder = unpacked(version)
    if not folder.exists():
        if not kernel.archive:
            raise ToolError(
                f"{kernel.package.name} {version} is no longer served, nor is its source",
                "upgrade the kernel, or name its source: --source /path/to/linux",
            )
        return packaged(kernel.archive, kernel.archive.get(name, version))
    return Source(folder / DRIVER, folder, tree_version(folder))


def tool(kernel: Kernel, source: Source, name: str) -> Path:
    """A file of TOOLS, of a kernel's version.

    :param source: of that kernel, see :func:`of`.
    :raises ToolError: the source has no such file.
    """
    tree = source.tree
    if tree and not (tree / name).exists() and kernel.package and kernel.archive:
        version = kernel.package.version
        if tree == unpacked(version):
            series = ".".join(kernel.version.split(".")[:2])
            package = kernel.archive.get(f"linux-source-{series}", version)
            tree = _unpacked(kernel.archive, package, unpacked(f"{version}-tools"), TOOLS)
    if not tree or not (tree / name).exists():
        raise ToolError(f"the source of {kernel.label} has no {name}")
    return tree / name


def fetch(kernel: Kernel) -> None:
    """Have the source of a kernel of Debian's archive in the cache; its headers need not be here.

    :raises ToolError: it cannot be fetched, or has no driver.
    """
    assert kernel.package and kernel.archive
    series, version = re.match(r"\d+\.\d+", kernel.release), kernel.package.version
    if series and not unpacked(version).exists():
        packaged(kernel.archive, kernel.archive.get(f"linux-source-{series[0]}", version))


def packaged(archive: Archive, package: Package) -> Source:
    """The driver from a linux-source package, which is fetched if necessary.

    :raises ToolError: it cannot be fetched, or has no driver.
    """
    folder = _unpacked(archive, package, unpacked(package.version), WANTED)
    return Source(folder / DRIVER, folder, tree_version(folder))


def _unpacked(archive: Archive, package: Package, folder: Path, wanted: Sequence[str]) -> Path:
    with paths.alone(folder):
        if not folder.exists():
            deb = archive.fetch(package)
            say(f"Unpacking {package.name}")
            extract(deb, folder, Progress(disable=True), wanted)
    return folder


def unpacked(version: str) -> Path:
    """The folder for what we need of the linux-source package of a version."""
    return paths.cache() / "source" / version


def extract(deb: Path, folder: Path, progress: Progress, wanted: Sequence[str] = WANTED) -> None:
    """Unpack what we need of a linux-source package.

    :param folder: see :func:`unpacked`; afterwards it is there whole or not at all.
    :param progress: shows a line while it runs.
    :param wanted: files, and folders with a slash at the end.
    :raises ToolError: the package has no driver, or not all that is wanted.
    """
    task, missing = progress.add_task(f"Reading {deb.name}", total=None), list(wanted)
    with paths.built_whole(folder) as work:
        packer = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(deb)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it would complain that we stop reading
        )
        assert packer.stdout
        with tarfile.open(fileobj=packer.stdout, mode="r|") as outer:
            for member in outer:
                if not re.search(r"/linux-source-[^/]*\.tar\.xz$", member.name):
                    continue
                packed = outer.extractfile(member)
                assert packed
                progress.update(task, total=member.size)
                missing = _extract_wanted(
                    packed, work, wanted, lambda at: progress.update(task, completed=at)
                )
                break
        # We need nothing that comes after that.
        packer.stdout.close()
        packer.wait()
        if missing:
            raise ToolError(f"{deb}: has no {missing[0].rstrip('/')}")
    progress.remove_task(task)


def _extract_wanted(
    packed: IO[bytes], work: Path, wanted: Sequence[str], advance: Callable[[int], None]
) -> list[str]:
    """Unpack some of a source's tar file; what it does not have. A folder's files are together."""
    missing = list(wanted)
    with tarfile.open(fileobj=packed, mode="r|xz") as inner:
        for entry in inner:
            name = entry.name.split("/", 1)[-1]
            advance(packed.tell())
            part = next((w for w in wanted if name == w or w[-1] == "/" and name.startswith(w)), "")
            if not part and not missing:
                break
            if not part or not entry.isfile():
                continue
            if part in missing:
                missing.remove(part)
            data = inner.extractfile(entry)
            assert data
            file = work / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as out:
                shutil.copyfileobj(data, out)
            file.chmod(0o755 if entry.mode & 0o100 else 0o644)
    return missing
