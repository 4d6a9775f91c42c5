# SPDX-License-Identifier: GPL-2.0
"""The house: who may import whom (docs/design.md, "The house"). The lists here are the rule."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit import paths

TOOLKIT = paths.ROOT / "toolkit"
CTL = paths.ROOT / "l2wgctl"

#: The wings of toolkit/, from the ground up: each imports itself and those before it.
WINGS = ["guest", "frame", "kernels", "kmod", "lab", "debs", "checks", "bench", "vagrant"]
#: Single modules that every wing but guest/ may import; they import each other, and no wing.
GROUND = {"arch", "errors", "paths", "run", "needs", "compiled", "lock", "tables"}

#: The packages of l2wgctl/, from the ground up, likewise: the kernel's side knows no files, and
#: what reads files sets up no links. A package that is not named here stands above them.
PACKAGES = ["netlink", "conf", "updown", "mesh"]
#: What speaks to the user imports packages, and no package imports it.
FRONT = {
    *("__main__", "cli", "arguments", "commands", "setargs", "dump", "monitor", "show"),
    *("install", "metrics", "new", "reresolve"),
}


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Every module that a file imports, at its top or in a function: (module, where)."""
    package = [*file.relative_to(paths.ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        where = f"{file.relative_to(paths.ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from ((alias.name, where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from toolkit.lab import kvm` imports toolkit.lab.kvm
            yield from ((f"{module}.{alias.name}", where) for alias in node.names)


def rooms(file: Path, top: str) -> Iterator[tuple[str, str]]:
    """Those of them that are in ``top``: (wing or module there, where)."""
    for module, where in imports(file):
        first, _, rest = module.partition(".")
        if first == top and rest:
            yield rest.partition(".")[0], where


def test_every_file_is_in_a_wing_or_on_the_ground() -> None:
    assert {p.name for p in TOOLKIT.iterdir() if (p / "__init__.py").exists()} == set(WINGS)
    assert {p.stem for p in TOOLKIT.glob("*.py")} == GROUND | {"__init__"}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_wings_below_it(wing: str) -> None:
    below = {*WINGS[: WINGS.index(wing) + 1], *GROUND}
    found = [x for file in (TOOLKIT / wing).rglob("*.py") for x in rooms(file, "toolkit")]
    assert [where for room, where in found if room not in below] == []


def test_the_ground_imports_no_wing() -> None:
    found = [x for file in TOOLKIT.glob("*.py") for x in rooms(file, "toolkit")]
    assert [where for room, where in found if room not in GROUND] == []


def test_no_two_modules_import_each_other() -> None:
    """Neither in a wing nor between the modules on the ground."""
    modules = {
        ".".join(file.relative_to(paths.ROOT).with_suffix("").parts): file
        for top in (TOOLKIT, CTL)
        for file in top.rglob("*.py")
    }
    arrows: dict[str, set[str]] = {}
    for name, file in modules.items():
        # of `from toolkit.run import say`, toolkit.run
        named = {m if m in modules else m.rpartition(".")[0] for m, _ in imports(file)}
        arrows[name] = (named & set(modules)) - {name}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in modules:
        visit(name, [])


@pytest.mark.parametrize("file", sorted((TOOLKIT / "guest").glob("*.py")), ids=lambda p: p.name)
def test_the_guest_needs_the_standard_library_only(file: Path) -> None:
    """And toolkit.guest: not toolkit.paths or errors either. A guest may lack what is in .venv (a
    clean Debian, another Python), and under emulation each import is time to the first ping."""
    allowed = set(sys.stdlib_module_names) | {"__future__"}
    for module, where in imports(file):
        top = module.partition(".")[0]
        assert top in allowed or module.startswith("toolkit.guest."), f"{where}: {module}"


def test_the_guests_programs_start_without_the_environment() -> None:
    """As a Python starts that has nothing of .venv (-I: no site of the user, no PYTHONPATH)."""
    names = [f"toolkit.guest.{p.stem}" for p in (TOOLKIT / "guest").glob("[a-z]*.py")]
    code = f"import sys; sys.path.insert(0, {str(paths.ROOT)!r}); import {', '.join(sorted(names))}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_l2wgctl_imports_only_packages_below_it(package: str) -> None:
    found = [x for file in (CTL / package).rglob("*.py") for x in rooms(file, "l2wgctl")]
    below = PACKAGES[: PACKAGES.index(package) + 1]
    above = {p.parent.name for p in CTL.glob("*/__init__.py")} - set(below) | FRONT
    assert [where for room, where in found if room in above] == []


def test_the_front_of_l2wgctl_is_what_is_there() -> None:
    assert {p.stem for p in CTL.glob("*.py")} >= FRONT
    assert {p.parent.name for p in CTL.glob("*/__init__.py")} >= set(PACKAGES)
