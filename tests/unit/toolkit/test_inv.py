# SPDX-License-Identifier: GPL-2.0
"""The script ./inv: when it makes .venv, and when it makes it anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit import paths

#: Stands for Python 3.11: ``-m venv`` puts it there, ``-m pip`` takes its time, Invoke tells.
PYTHON = """\
#!/bin/sh
case $* in
-V) echo "Python $(cat "$VERSION")" ;;
"-m venv --without-pip "*)
	version=$(cat "$VERSION")
	mkdir -p "$4/bin" "$4/lib/python${version%.*}"
	cp "$0" "$4/bin/python"
	echo "command = $0 -m venv --without-pip $4" >"$4/pyvenv.cfg"
	;;
*zipfile*) [ ! -e "$MADE.no-wheel" ] ;;
"-m ensurepip") echo ensurepip >>"$MADE" ;;
*" pip "*)
	sleep 0.2
	for lock; do :; done
	echo "${lock##*/}" >>"$MADE"
	[ ! -e "$MADE.refuse" ]
	;;
"-m invoke "*) shift 4; echo "$PYTHONUTF8:$*" ;;
esac
"""
TOOLKIT, TEST = "requirements.lock", "requirements-test.lock"


class Tree:
    """A checkout with nothing but the script."""

    def __init__(self, folder: Path) -> None:
        self.root, self.made = folder / "a tree", folder / "made"
        self.version = folder / "version"
        self.root.mkdir()
        (folder / "bin").mkdir()
        (folder / "bin/python3").write_text(PYTHON)
        (folder / "bin/python3").chmod(0o755)
        self.version.write_text("3.11.2")
        shutil.copy(paths.ROOT / "inv", self.root)
        for name in (TOOLKIT, TEST):
            (self.root / name).write_text("invoke==1\n")
        where = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
        self.env = {**where, "MADE": str(self.made), "VERSION": str(self.version)}

    def start(self, words: str = "lab") -> subprocess.Popen[str]:
        argv = [str(self.root / "inv"), *words.split()]
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, text=True)

    def makes(self) -> int:
        """Run it; how many times has it made .venv by now?"""
        out, _ = self.start().communicate()
        assert out == "1:lab\n"
        return self.made.read_text().splitlines().count(TOOLKIT)

    def installs(self, words: str) -> list[str]:
        """What a command line installs."""
        self.made.write_text("")
        self.start(words).communicate()
        return self.made.read_text().splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_real_one_stays_as_it_is() -> None:
    """What stands for Python writes what Python writes."""
    venv = Path(sys.prefix)
    if venv != paths.ROOT / ".venv":
        pytest.skip("not run by ./inv's own Python")
    assert f" {venv}\n" in (venv / "pyvenv.cfg").read_text()
    assert (venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}").is_dir()
    subprocess.run([sys.executable, "-m", "pip", "--version"], check=True)


def test_it_is_made_once(tree: Tree) -> None:
    assert [tree.makes(), tree.makes()] == [1, 1]


def test_python_installs_pip_where_its_wheel_is_elsewhere(tree: Tree) -> None:
    tree.made.with_name("made.no-wheel").touch()
    assert tree.installs("lab") == ["ensurepip", TOOLKIT, TEST]


def test_it_is_made_anew_with_another_lock(tree: Tree) -> None:
    tree.makes()
    (tree.root / TOOLKIT).write_text("invoke==2\n")
    assert [tree.makes(), tree.makes()] == [2, 2]
    (tree.root / TEST).write_text("pytest==2\n")
    assert [tree.makes(), tree.makes()] == [3, 3]


def test_it_is_made_anew_in_another_folder(tree: Tree) -> None:
    """Its programs begin with the name of the folder that they were installed in."""
    tree.makes()
    tree.root = tree.root.rename(tree.root.with_name("moved"))
    assert [tree.makes(), tree.makes()] == [2, 2]


def test_it_is_made_anew_for_another_python(tree: Tree) -> None:
    """What is installed is in lib/python3.11, where Debian 13's does not look for it."""
    tree.makes()
    tree.version.write_text("3.11.9")
    assert tree.makes() == 1
    tree.version.write_text("3.13.5")
    assert [tree.makes(), tree.makes()] == [2, 2]


def test_two_at_once_make_it_once(tree: Tree) -> None:
    started = [tree.start(), tree.start()]
    assert [process.communicate()[0] for process in started] == ["1:lab\n"] * 2
    assert tree.made.read_text().split() == [TOOLKIT, TEST]


def test_a_first_demo_installs_no_test_tools(tree: Tree) -> None:
    assert tree.installs("demo") == [TOOLKIT]
    assert tree.installs("demo --kernel 6.1") == []
    assert tree.installs("test") == [TEST]
    assert tree.installs("test") == tree.installs("demo") == []


@pytest.mark.parametrize(
    ("words", "lean"),
    [
        ("build-module -k 6.1 --source x --debug", True),
        ("build-module --sign key cert", True),
        ("install --root=/mnt", True),
        ("demo --mesh", True),
        ("", False),
        ("--list", False),
        ("lab -- true", False),
        ("demo test", False),
        ("demo --mesh test", False),
    ],
)
def test_which_tasks_do_without(tree: Tree, words: str, lean: bool) -> None:
    assert (TEST not in tree.installs(words)) == lean


def test_a_part_that_fails_starts_over(tree: Tree) -> None:
    refuse = tree.made.with_name("made.refuse")
    for words, part in (("demo", TOOLKIT), ("test", TEST)):
        refuse.touch()
        assert tree.installs(words) == [part]
        refuse.unlink()
        assert tree.installs(words) == [part]
        assert tree.installs(words) == []
