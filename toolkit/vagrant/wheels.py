# SPDX-License-Identifier: GPL-2.0
"""l2wgctl and its dependencies as wheels, for machines without a package index."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
import tempfile
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import run, say

FOLDER = paths.BUILD / "wheels"
LOCK = paths.ROOT / "requirements.lock"
PYTHON = "3.11"  # Debian bookworm's
#: What Debian bookworm's glibc (2.36) can load
PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")
ABIS = ("cp311", "abi3", "none")
#: The files of our own wheel
PROJECT = ("l2wgctl", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
HINT = "is the Python package index reachable?"


def make() -> Path:
    """Fill ``build/wheels``: build ours, and fetch the others by the lock's hashes.

    :raises ToolError: the package index cannot be reached, or the lock lacks one of them.
    """
    wanted = pinned(LOCK.read_text(), closure())
    stamp = FOLDER / "wanted.txt"
    fetched = stamp.exists() and stamp.read_text() == wanted
    with paths.built_whole(FOLDER) as work:
        if fetched:
            for wheel in FOLDER.glob("*.whl"):
                if not wheel.name.startswith("l2wg-"):
                    shutil.copy2(wheel, work)
        else:
            _fetch(wanted, work)
        (work / stamp.name).write_text(wanted)
        _own(work)
    return FOLDER


def closure() -> set[str]:
    """The packages that l2wgctl needs, directly or not, by their canonical names."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    waiting = [Requirement(r) for r in project["dependencies"]]
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(r) for r in importlib.metadata.requires(name) or ()]
    return found


def pinned(lock: str, names: set[str]) -> str:
    """The lines of the lock, hashes and all, for some of its packages.

    :raises ToolError: the lock has not all of them.
    """
    entries = re.findall(r"^(([\w.-]+)==.*\n(?:[ \t]+--hash=.*\n)+)", lock, re.MULTILINE)
    chosen = {str(canonicalize_name(name)): text for text, name in entries}
    if lacking := sorted(names - set(chosen)):
        raise ToolError(f"requirements.lock has no {', '.join(lacking)}", "./inv lock")
    return "".join(chosen[name] for name in sorted(names))


def _fetch(wanted: str, folder: Path) -> None:
    say("Downloading what l2wgctl needs")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(wanted)
        file.flush()
        where = [f"--python-version={PYTHON}", "--implementation=cp"]
        where += [f"--platform={p}" for p in PLATFORMS] + [f"--abi={a}" for a in ABIS]
        only = ["--no-deps", "--require-hashes", "--only-binary=:all:"]
        run(
            [*PIP, "download", *only, *where, "--dest", folder, "--requirement", file.name],
            hint=HINT,
        )


def _own(folder: Path) -> None:
    """Build ours from a copy, because a build leaves files in the tree."""
    with tempfile.TemporaryDirectory(prefix="l2wg-wheel-") as work:
        for name in PROJECT:
            source = paths.ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, Path(work) / name, ignore=ignore)
            else:
                shutil.copy2(source, work)
        run([*PIP, "wheel", "--no-deps", "--wheel-dir", folder, work], hint=HINT)
