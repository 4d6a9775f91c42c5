# SPDX-License-Identifier: GPL-2.0
"""Where things are: the checkout, what is built in it, and the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / "kernel"
PATCHES = ROOT / "patches"
PACKAGING = ROOT / "packaging"
BUILD = ROOT / "build"
LOGS = BUILD / "logs"


def cache() -> Path:
    """Folder for what is downloaded; ``L2WG_CACHE`` overrides the user's cache folder."""
    override = os.environ.get("L2WG_CACHE")
    if override:
        path = Path(override)
    else:
        import platformdirs  # here: the guest's programs do without it

        path = platformdirs.user_cache_path("l2wg")
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def version() -> str:
    """l2wg's own version, from pyproject.toml."""
    match = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert match, "pyproject.toml has no version"
    return match[1]


def shown(path: Path) -> str:
    """The path as a user would type it: relative where it lies below the current folder."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """No other thread or process is in a block for the same ``target``.

    For "make it unless it is there": whoever comes second finds what the first has made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def built_whole(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place if the block succeeds.

    Nobody ever sees ``target`` half made; an interrupted run leaves the old folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        work.chmod(0o755)
        yield work
        old = None
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.rename(old / "old")
        work.rename(target)
        if old:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
