# SPDX-License-Identifier: GPL-2.0
"""./inv lock: renew requirements.lock from pyproject.toml, with hashes, by pip-compile."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

import tomllib

from toolkit import paths
from toolkit.run import run, say

LOCK = paths.ROOT / "requirements.lock"
PROJECT = paths.ROOT / "pyproject.toml"
#: The optional dependencies in pyproject.toml that `./inv` needs.
EXTRAS = ("toolkit", "test")


def lock(*, upgrade: bool = False) -> dict[str, tuple[str, str]]:
    """Write requirements.lock.

    pip-compile runs in an environment of its own, which is removed afterwards, because it and its
    dependencies are no part of ours.

    :param upgrade: take the newest version of everything; else a version stays if it fits.
    :returns: what has changed: name -> (version before, version now).
    :raises ToolError: there is no package index, or no set of versions fits; the file is as it was.
    """
    before = versions(LOCK.read_text())
    with tempfile.TemporaryDirectory(prefix="l2wg-lock-") as folder:
        work = Path(folder)
        python = work / "venv/bin/python"
        run([sys.executable, "-m", "venv", work / "venv"])
        tools = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["lock"]
        say(f"Installing {' '.join(tools)} for a moment")
        pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", *tools]
        run([python, *pip], hint="is a package index reachable?")
        made = work / LOCK.name
        if not upgrade:
            shutil.copyfile(LOCK, made)
        say("Resolving the versions")
        run(
            [
                *(python, "-m", "piptools", "compile", "--quiet", "--generate-hashes"),
                *("--allow-unsafe", "--strip-extras", "--resolver=backtracking"),
                # the file does not say from where this machine gets packages
                *("--no-header", "--no-emit-index-url", "--no-emit-trusted-host"),
                *("--no-emit-find-links", "--no-emit-options"),
                *(f"--extra={extra}" for extra in EXTRAS),
                *("--output-file", made, PROJECT.name),
            ],
            cwd=paths.ROOT,
            hint="is a package index reachable, and do the versions of pyproject.toml fit?",
        )
        text = made.read_text()
    if text != LOCK.read_text():
        temporary = LOCK.with_suffix(".lock.new")
        temporary.write_text(text)
        temporary.replace(LOCK)
    now = versions(text)
    return {
        name: (before.get(name, ""), now.get(name, ""))
        for name in sorted(before | now)
        if before.get(name) != now.get(name)
    }


def versions(text: str) -> dict[str, str]:
    """The packages of a lock file and their versions."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))
