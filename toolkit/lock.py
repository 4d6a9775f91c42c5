# SPDX-License-Identifier: GPL-2.0
"""./inv lock: renew requirements*.lock from pyproject.toml, with hashes, by pip-compile."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tomllib

from toolkit import paths
from toolkit.run import run, say

PROJECT = paths.ROOT / "pyproject.toml"
#: File -> the optional dependencies of pyproject.toml that it has, beyond those of the files above
#: it. `./inv` installs the later ones only for tasks that need them.
LOCKS = {
    paths.ROOT / "requirements.lock": ("toolkit",),
    paths.ROOT / "requirements-test.lock": ("toolkit", "test"),
}


def lock(*, upgrade: bool = False) -> dict[str, tuple[str, str]]:
    """Write the files of versions.

    pip-compile runs in an environment of its own, which is removed afterwards, because it and its
    dependencies are no part of ours.

    :param upgrade: take the newest version of everything; else a version stays if it fits.
    :returns: what has changed: name -> (version before, version now).
    :raises ToolError: there is no package index, or no set of versions fits; the files are as they
        were.
    """
    texts = {file: file.read_text() for file in LOCKS}
    before = "".join(texts.values())
    with tempfile.TemporaryDirectory(prefix="l2wg-lock-") as folder:
        work = Path(folder)
        python = work / "venv/bin/python"
        run([sys.executable, "-m", "venv", work / "venv"])
        tools = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["lock"]
        say(f"Installing {' '.join(tools)} for a moment")
        pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", *tools]
        run([python, *pip], hint="is a package index reachable?")
        say("Resolving the versions")
        # All of them first, so that the versions fit; from these, each file's.
        made = "" if upgrade else before
        for file, extras in reversed(LOCKS.items()):
            draft = work / file.name
            draft.write_text(made)
            made = _resolved(python, draft, extras)
            texts[file] = made
    now, above = versions("".join(texts.values())), set[str]()
    for file, text in texts.items():
        rest = "".join(e for e in _entries(text) if not versions(e).keys() & above)
        above |= versions(text).keys()
        if rest != file.read_text():
            temporary = file.with_suffix(".lock.new")
            temporary.write_text(rest)
            temporary.replace(file)
    old = versions(before)
    return {
        name: (old.get(name, ""), now.get(name, ""))
        for name in sorted(old | now)
        if old.get(name) != now.get(name)
    }


def _resolved(python: Path, draft: Path, extras: Sequence[str]) -> str:
    """What pip-compile makes of ``draft``, whose versions stay if they fit."""
    run(
        [
            *(python, "-m", "piptools", "compile", "--quiet", "--generate-hashes"),
            *("--allow-unsafe", "--strip-extras", "--resolver=backtracking"),
            # the file does not say from where this machine gets packages
            *("--no-header", "--no-emit-index-url", "--no-emit-trusted-host"),
            *("--no-emit-find-links", "--no-emit-options"),
            *(f"--extra={extra}" for extra in extras),
            *("--output-file", draft, PROJECT.name),
        ],
        cwd=paths.ROOT,
        hint="is a package index reachable, and do the versions of pyproject.toml fit?",
    )
    return draft.read_text()


def _entries(text: str) -> list[str]:
    """A lock file's packages, each with its hashes and where it comes from."""
    return [entry for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if entry]


def versions(text: str) -> dict[str, str]:
    """The packages of a lock file and their versions."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))
