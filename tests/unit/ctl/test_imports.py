# SPDX-License-Identifier: GPL-2.0
"""Who imports what, how much a start loads, and the public interface."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import l2wgctl
from tests.unit.ctl.conftest import PEER_A, PRIVATE

PACKAGE = Path(l2wgctl.__file__).parent
MAY_IMPORT_PYROUTE2 = {"library.py"}
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


def test_only_library_imports_pyroute2() -> None:
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
        "import sys; bare = set(sys.modules); from l2wgctl.cli import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(set(sys.modules) - bare), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stderr.splitlines())


def modules_of(modules: set[str]) -> set[str]:
    """The packages that they belong to."""
    return {name.partition(".")[0] for name in modules}


def test_version_and_check_are_light(tmp_path: Path) -> None:
    path = tmp_path / "wg1.conf"
    path.write_text(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    path.chmod(0o600)
    for words in (["--version"], ["check", str(path)], ["show", "wg1"], ["strip", str(path)]):
        assert not modules_of(loaded(tmp_path, *words)) & {"pyroute2", "rich", "asyncio"}, words


#: Modules that a start may load besides l2wgctl's own and cryptography's. Bare Python's are none of
#: them. A start's time is that of its imports: it is measured in the benchmark, not here.
MOST = {"--version": 60, "check": 100}
#: Of the standard library, what takes as long as all the rest.
HEAVY = {"asyncio", "concurrent", "email", "http", "json", "logging", "ssl", "subprocess", "xml"}


@pytest.mark.parametrize("command", MOST)
def test_a_start_imports_little(command: str, tmp_path: Path) -> None:
    path = tmp_path / "wg1.conf"
    path.touch(mode=0o600)
    path.write_text(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    words = [command] if command == "--version" else [command, str(path)]
    modules = loaded(tmp_path, *words)
    assert not modules_of(modules) & {*HEAVY, "pyroute2", "rich"}
    others = {m for m in modules if not m.startswith(("l2wgctl", "cryptography"))}
    assert len(others) <= MOST[command], sorted(others)


def test_setconf_and_fdb_import_little(tmp_path: Path) -> None:
    """Nothing for names, if the file has none; nothing for keys in other formats."""
    path = tmp_path / "wg1.conf"
    path.touch(mode=0o600)
    text = f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n"
    path.write_text(text + "Endpoint = 192.0.2.1:5\n")
    code = "from l2wgctl.conf.files import load; from l2wgctl.netlink.messages import encode_set;"
    code += "from l2wgctl.resolve import sockaddr; import sys;"
    code += f"list(encode_set(load({str(path)!r}).device, sockaddr)); print(*sys.modules)"
    run = [sys.executable, "-c", code]
    modules = set(subprocess.check_output(run, text=True, cwd=ROOT).split())
    assert "l2wgctl.resolve" in modules and "cryptography" in modules
    assert not modules & {"socket", "cryptography.hazmat.primitives.serialization.ssh"}
    modules = loaded(tmp_path, "fdb", "add")
    assert "l2wgctl.fdb" in modules
    assert not modules & {"socket", "pathlib", "shutil", "cryptography"}


def python(code: str) -> str:
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout + done.stderr


def test_of_pyroute2_only_what_is_used() -> None:
    modules = set(python("import sys, l2wgctl.netlink.link; print(*sys.modules)").split())
    assert {"pyroute2.iproute", "pyroute2.netlink.rtnl.ifinfmsg"} <= modules
    assert not modules & {"pyroute2.ndb", "pyroute2.ipset", "pyroute2.plan9", "sqlite3"}


def test_who_asks_pyroute2_for_more_gets_it() -> None:
    """As if l2wgctl were not there, and the same objects."""
    code = "from l2wgctl.netlink.library import IPRoute, NetlinkError; import pyroute2;"
    code += "from pyroute2 import NDB, netns; import pyroute2.netlink.exceptions as e;"
    code += "print(pyroute2.IPRoute is IPRoute, e.NetlinkError is NetlinkError, NDB.__name__,"
    assert python(code + "netns.__name__)").split() == ["True", "True", "NDB", "pyroute2.netns"]
    before = "import pyroute2; from l2wgctl.netlink.library import IPRoute;"
    assert python(before + "print(pyroute2.IPRoute is IPRoute)").strip() == "True"
    unknown = "import l2wgctl.netlink.library, pyroute2; print(hasattr(pyroute2, 'nothing'))"
    assert python(unknown).strip() == "False"


def test_warnings_of_pyroute2_do_not_reach_the_user() -> None:
    code = "import l2wgctl.netlink.library, logging;"
    assert python(code + "logging.getLogger('pyroute2.netlink').warning('odd')") == ""


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
