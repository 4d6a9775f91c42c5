# SPDX-License-Identifier: GPL-2.0
"""Who imports what, how long the start takes, and the public interface."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import l2wgctl
from tests.unit.ctl.conftest import PEER_A, PRIVATE

PACKAGE = Path(l2wgctl.__file__).parent
#: The convention allows genl and link; genl does without (see its first lines).
MAY_IMPORT_PYROUTE2 = {"link.py"}
#: Of pyproject.toml's extras.
OPTIONAL = {"metrics.py": {"prometheus_client"}, "new.py": {"segno"}}
ROOT = PACKAGE.parent


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def test_only_link_imports_pyroute2() -> None:
    found = {path.name for path in PACKAGE.rglob("*.py") if "pyroute2" in imported(path)}
    assert found == MAY_IMPORT_PYROUTE2


@pytest.mark.skipif(sys.version_info < (3, 10), reason="no list of the standard library")
def test_nothing_but_the_three_dependencies() -> None:
    """And two optional ones, in one module each."""
    standard = set(sys.stdlib_module_names) | {"l2wgctl", "__future__"}
    for path in PACKAGE.rglob("*.py"):
        more = OPTIONAL.get(path.name, set())
        assert imported(path) - standard <= {"pyroute2", "cryptography", "rich"} | more, path


def loaded(tmp_path: Path, *words: str) -> set[str]:
    code = (
        "import sys; from l2wgctl.cli import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()}


def test_version_and_check_are_light(tmp_path: Path) -> None:
    path = tmp_path / "wg1.conf"
    path.write_text(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    path.chmod(0o600)
    for words in (["--version"], ["check", str(path)], ["show", "wg1"], ["strip", str(path)]):
        assert not loaded(tmp_path, *words) & {"pyroute2", "rich", "asyncio"}, words


def best_of(argv: list[str], tries: int = 12) -> float:
    """Processor time in seconds: what else the machine does disturbs it little."""
    best = 9.0
    # Compiled files as an installed package has them.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(tries):
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=ROOT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        best = min(best, usage.ru_utime + usage.ru_stime)
    return best


@pytest.mark.parametrize("command", ["--version", "check"])
def test_start_takes_less_than_80_ms_more_than_python(command: str, tmp_path: Path) -> None:
    path = tmp_path / "wg1.conf"
    path.touch(mode=0o600)
    path.write_text(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    words = [command] if command == "--version" else [command, str(path)]
    bare = best_of([sys.executable, "-c", "pass"])
    ours = best_of([sys.executable, "-c", "from l2wgctl.cli import run; run()", *words])
    assert ours - bare < 0.080


@pytest.mark.parametrize("name", [n for n in l2wgctl.__all__ if n != "__version__"])
def test_public_names(name: str) -> None:
    assert getattr(l2wgctl, name) is not None
    assert name in dir(l2wgctl)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = l2wgctl.nothing
    assert str(caught.value) == "module 'l2wgctl' has no attribute 'nothing'"


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names | {"__version__"} == set(l2wgctl.__all__)
    assert (PACKAGE / "py.typed").exists()


def test_modules_stay_short() -> None:
    long = {
        p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 410
    }
    assert long == {}


def test_version_is_that_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{l2wgctl.__version__}"\n' in text
