# SPDX-License-Identifier: GPL-2.0
"""The linters, as tests. A tool that is missing is a skip, with CI=true a failure."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

import pytest

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels import kernel as kernels
from toolkit.kernels import source as sources
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.source import Source
from toolkit.kmod import build, patching, toolchain

#: The kernel whose checkpatch judges, and against whose headers sparse runs.
SERIES = "6.1"

OURS = sorted(paths.KERNEL.glob("l2wg_*.[ch]"))

#: No place for a comment, made by a program, or named in LICENSE itself.
WITHOUT_SPDX = (
    "tests/unit/ctl/captures/*",  # what programs have said
    *("LICENSE", ".gitignore", "*.lock", "*.patch", "*.json", "*.pcap", "*.txt"),
    "*/py.typed",
    *("docs/bench/*.png", "docs/bench/*.svg"),  # drawn by matplotlib
    "docs/man/*.md",  # the first line is the title, and what follows is the page
)


def lacking(what: str) -> NoReturn:
    """Skip the test; where nothing may be skipped, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def tool(name: str) -> str:
    """The program, out of this environment or the machine's."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or lacking(f"{name} is not installed")


def check(*argv: str | Path) -> None:
    """Run a linter in the checkout; what it says is the failure."""
    done = subprocess.run(
        [str(a) for a in argv],
        cwd=paths.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout or f"{argv[0]}: status {done.returncode}", pytrace=False)


@functools.cache
def files() -> tuple[Path, ...]:
    """The files of the checkout, also those that are about to be added."""
    listing = subprocess.run(
        [tool("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        lacking("not a checkout of git")
    names = sorted(set(listing.stdout.decode().split("\0")) - {""})
    return tuple(p for p in (paths.ROOT / n for n in names) if p.is_file())


def shown(file: Path) -> str:
    return str(file.relative_to(paths.ROOT))


@functools.cache
def kernel() -> tuple[Kernel, Source]:
    """The kernel and the driver's source, fetched as the build fetches them."""
    try:
        found = kernels.resolve(SERIES)
        return found, sources.of(found)
    except ToolError as error:
        lacking(f"Linux {SERIES}: {error}")


def test_ruff() -> None:
    check(tool("ruff"), "check", "--output-format=concise", ".")


def test_ruff_format() -> None:
    check(tool("ruff"), "format", "--check", ".")


def test_mypy() -> None:
    check(tool("mypy"))


def test_codespell() -> None:
    check(tool("codespell"))


def test_shellcheck() -> None:
    scripts = [
        f
        for f in files()
        if f.suffix == ".sh" or re.match(rb"#!\s*\S*[/ ](ba|da)?sh\b", f.read_bytes()[:64])
    ]
    assert {"inv", ".ci/run", "toolkit/vagrant/provision.sh"} <= {shown(f) for f in scripts}
    check(tool("shellcheck"), *scripts)


#: Other dialects than `:param x:`, `:returns:`, `:raises E:`: Google's, NumPy's, and prose.
OTHER_DIALECTS = re.compile(r"^ *(Args|Returns|Raises|Yields|Parameters):?$|Raises [A-Z]\w+", re.M)


def test_docstrings_speak_one_dialect() -> None:
    """And what they say of a parameter is about one that there is."""
    wrong = []
    for file in (f for f in files() if f.suffix == ".py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            text = ast.get_docstring(node) or ""
            where = f"{shown(file)}:{node.lineno}"
            wrong += [f"{where}: {found[0].strip()}" for found in OTHER_DIALECTS.finditer(text)]
            if not isinstance(node, ast.ClassDef):
                a = node.args
                known = {x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
                known |= {x.arg for x in (a.vararg, a.kwarg) if x}
                named = re.findall(r"^ *:param (\w+):", text, re.M)
                wrong += [f"{where}: no parameter {name}" for name in named if name not in known]
    assert wrong == []


def test_spdx() -> None:
    without = []
    for file in files():
        if any(fnmatch(shown(file), p) for p in WITHOUT_SPDX):
            continue
        head = file.read_text().splitlines()[:3]
        if not any("SPDX-License-Identifier: GPL-2.0" in line for line in head):
            without.append(shown(file))
    assert without == []


@pytest.mark.parametrize("file", OURS, ids=lambda p: str(p.name))
def test_checkpatch(file: Path) -> None:
    perl = tool("perl")
    checkpatch = sources.tool(*kernel(), "scripts/checkpatch.pl")
    # the name of a struct, which a macro may use as often as it likes, has no side effects
    options = ("--no-tree", "--strict", "--quiet", "--ignore=MACRO_ARG_REUSE", "-f")
    check(perl, checkpatch, *options, file)


#: Appended to one of the driver's own files: proof that sparse runs, and minds byte orders.
PLANTED = "static __maybe_unused __be16 planted(u16 x) { return x; }\n"


def test_sparse(tmp_path: Path) -> None:
    tool("sparse")
    linux, wireguard = kernel()
    driver = build.prepare(tmp_path, wireguard, linux.label)
    with (driver / "noise.c").open("a") as noise:
        noise.write(PLANTED)
    argv = build.make_argv(linux, driver, toolchain.of(linux).compiler, "C=2", "CHECK=sparse")
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    said = [x for x in done.stdout.splitlines() if re.search(r"\.[ch]:\d+:\d+: ", x)]
    assert any("noise.c" in x and "different base types" in x for x in said), done.stdout
    names = "|".join(map(re.escape, patching.own_files()))
    assert [x for x in said if re.search(rf"\b({names}):", x)] == []
