# SPDX-License-Identifier: GPL-2.0
"""Where things are: the checkout, what is built in it, and the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from toolkit.errors import ToolError
from toolkit.run import say

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / "kernel"
PATCHES = ROOT / "patches"
PACKAGING = ROOT / "packaging"
BUILD = ROOT / "build"
LOGS = BUILD / "logs"


#: Marks a folder that was made as our cache. Only a folder with it is ever removed.
MARKER = ".l2wg-cache"
#: The entries of a cache. `./inv clean --all` removes these, and nothing else in the folder.
CACHED = {
    *("apt", "boxes", "captures", "chroots", "debs", "etcd", "firmware", "headers", "images"),
    *("iproute2", "kvm.json", "own", "pool", "roots", "series", "source", "tools", "vmlinux"),
}


def cache() -> Path:
    """Folder for what is downloaded; ``L2WG_CACHE`` overrides the user's cache folder.

    :raises ToolError: it cannot be made, or is a folder with other things in it.
    """
    override = os.environ.get("L2WG_CACHE")
    if override:
        path = Path(override)
    else:
        import platformdirs  # here, because it takes long and not every program needs it

        path = platformdirs.user_cache_path("l2wg")
    try:
        path.mkdir(parents=True, exist_ok=True)
        path = path.resolve()
        if not (path / MARKER).exists():
            # the user's own cache folder has our name
            if override and (strangers := _not_ours(path)):
                raise ToolError(
                    f"{path}: not a cache of l2wg's, it has {strangers[0]}",
                    "name a new or empty folder: L2WG_CACHE=...",
                )
            (path / MARKER).write_text("l2wg keeps its downloads here; ./inv clean --all\n")
    except OSError as error:
        raise ToolError(
            f"{path}: cannot be the cache: {error.strerror}", "L2WG_CACHE=..."
        ) from None
    return path


def _not_ours(folder: Path) -> list[str]:
    """Entries of a cache's folder that are not ours. The locks of alone() are ours."""
    ours = CACHED | {f".{name}.lock" for name in CACHED} | {MARKER}
    return sorted(p.name for p in folder.iterdir() if p.name not in ours)


def clean(*, all: bool = False) -> None:
    """Remove what was built, and say so; follow no link.

    :param all: also remove what was downloaded: what we have put into the cache's folder.
    :raises ToolError: the folder is a link, cannot be proven to be ours, or cannot be removed.
    """
    remove(BUILD)
    if not all:
        return
    given = os.environ.get("L2WG_CACHE")
    if given and Path(given).is_symlink():
        raise ToolError(f"{given}: a link, not removed", f"L2WG_CACHE={os.path.realpath(given)}")
    folder = cache()  # proves that it is ours
    for name in sorted(CACHED):
        remove(folder / name, silent=True)
        (folder / f".{name}.lock").unlink(missing_ok=True)
    if left := _not_ours(folder):
        print(f"emptied {shown(folder)}; not l2wg's, and still there: {', '.join(left)}")
        return
    (folder / MARKER).unlink()
    folder.rmdir()
    print(f"removed {shown(folder)}")


def remove(target: Path, *, silent: bool = False) -> None:
    """Remove a file or a folder of ours and all that is in it.

    :raises ToolError: it is a link, which stays with what it names; or it cannot be removed.
    """
    if target.is_symlink():
        raise ToolError(f"{target}: a link, not removed", "remove what it names yourself")
    try:
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    except OSError as error:
        raise ToolError(f"{error.filename}: cannot be removed: {error.strerror}") from None
    if not silent:
        print(f"removed {shown(target)}")


def logs(*names: str) -> Path:
    """A folder below build/logs, named by some names.

    It is below build/logs whatever the names are; the user's may be a path to a kernel, or ``..``.
    """
    return LOGS / re.sub(r"[^\w.+-]+|^[.]+|[.]{2,}", "-", "-".join(names))


#: Files and folders that are this process's until it ends, each with the lock that says so.
_held: dict[Path, IO[str]] = {}
_holding = threading.Lock()


def _hold(what: Path, how: int, trouble: str) -> None:
    """Lock a file or folder, or change the lock that this process has on it.

    :param how: LOCK_EX or LOCK_SH of flock(2).
    :param trouble: what the error says if another process's lock stands against it.
    """
    with _holding:
        what.parent.mkdir(parents=True, exist_ok=True)
        lock = _held.get(what) or (what.parent / f".{what.name}.used").open("w")
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if what in _held:  # a change that fails may unlock it, see flock(2)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            raise ToolError(
                f"{shown(what)}: {trouble}",
                "wait until it ends, or work in a second checkout: git worktree add",
            ) from None
        _held[what] = lock


def claim(log: Path) -> None:
    """Have a file or folder of logs for this process alone, until it ends.

    :raises ToolError: another process has it.
    """
    _hold(log, fcntl.LOCK_EX, "another run writes there")


def keep(folder: Path) -> None:
    """No other process may replace the folder until this one ends."""
    _hold(folder, fcntl.LOCK_SH, "another run replaces it")


def may_replace(folder: Path) -> None:
    """See that no other process wants to keep the folder, and keep them from it.

    :raises ToolError: one does.
    """
    _hold(folder, fcntl.LOCK_EX, "has to be made anew, and guests of another run start from it")


def unused(log: Path) -> Path:
    """Claim this file or folder of logs, or, if another process has it, ``NAME-2`` beside it."""
    for name in itertools.chain([log.name], (f"{log.name}-{n}" for n in itertools.count(2))):
        with contextlib.suppress(ToolError):
            claim(log.with_name(name))
            return log.with_name(name)
    raise AssertionError


def fresh(folder: Path) -> Path:
    """An empty folder below build/, in place of what an earlier run has left there.

    :raises ToolError: another process writes there.
    """
    ours = folder.is_relative_to(BUILD) or folder.is_relative_to(LOGS)
    assert ours and ".." not in folder.parts, folder
    claim(folder)
    if folder.exists():
        remove(folder, silent=True)
    folder.mkdir(parents=True)
    return folder


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


PATIENCE = 3  # seconds of waiting that need no explanation


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """No other thread or process is in a block for the same ``target``.

    For "make it unless it is there": whoever comes second finds what the first has made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = threading.Timer(
                PATIENCE, say, [f"Waiting for another run, which makes {shown(target)}"]
            )
            told.start()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            finally:
                told.cancel()
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
