# SPDX-License-Identifier: GPL-2.0
"""Kernels of our own: what is made, what is kept of it, and where it is found again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.errors import ToolError
from toolkit.kernels import own
from toolkit.kernels.kernel import resolve

WANTED = """\
# a comment
CONFIG_A=y
CONFIG_B="text"
# CONFIG_C is not set
CONFIG_D=m
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_kconfig_does_not_take_is_named() -> None:
    assert own.disagreements(WANTED, WANTED) == []
    without = 'CONFIG_A=y\nCONFIG_B="other"\nCONFIG_C=m\nCONFIG_D=m\n'
    assert own.disagreements(WANTED, without) == ['CONFIG_B="text"', "CONFIG_C=n"]
    assert own.disagreements(WANTED, "") == ["CONFIG_A=y", 'CONFIG_B="text"', "CONFIG_D=m"]


@pytest.mark.parametrize("recipe", own.RECIPES.values(), ids=str)
def test_the_configuration_has_what_finds_faults(recipe: own.Recipe) -> None:
    lines = recipe.configuration.splitlines()
    assert len(set(lines) - {""}) == len([x for x in lines if x]), "a line stands twice"
    locks = ("PROVE_LOCKING", "PROVE_RCU", "DEBUG_ATOMIC_SLEEP", "DEBUG_OBJECTS")
    finds = {
        own.UML: (*locks, "KASAN", "UBSAN", "DEBUG_KMEMLEAK", "FAULT_INJECTION", "FAILSLAB"),
        own.NATIVE: ("UBSAN", "SLUB_DEBUG"),
        own.SMP: (*locks, "KCSAN", "SMP", "DEBUG_SPINLOCK"),
    }[recipe]
    for option in ("WIREGUARD", "BRIDGE", "NF_TABLES", "DEBUG_NET", *finds):
        assert any(x in (f"CONFIG_{option}=y", f"CONFIG_{option}=m") for x in lines), option
    assert not [x for x in lines if x.startswith("CONFIG_") and x.endswith("=n")]


def test_nothing_patches_the_text_of_processors_that_run() -> None:
    """Or QEMU would need a lock around them: docs/kernels.md."""
    lines = own.SMP.configuration.splitlines()
    for option in ("JUMP_LABEL", "FTRACE", "KPROBES", "PREEMPT_DYNAMIC"):
        assert f"# CONFIG_{option} is not set" in lines


def test_another_recipe_is_another_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    others = (replace(own.UML, series="6.1"), replace(own.UML, words=("A=b",)))
    digests = {x.digest() for x in (own.UML, own.NATIVE, own.SMP, *others)}
    assert len(digests) == 5
    for file in own.HERE.glob("*.config"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / own.UML.header).write_text("another")
    monkeypatch.setattr(own, "HERE", tmp_path)
    assert own.UML.digest() not in digests
    assert own.NATIVE.digest() in digests


def made(version: str, recipe: own.Recipe = own.UML) -> Path:
    """A kernel in the cache."""
    folder = own._folder() / f"{recipe.name}-{version}-{recipe.digest()}"
    release = folder / "tree/include/config/kernel.release"
    release.parent.mkdir(parents=True)
    release.write_text(f"{version}-uml\n")
    (folder / "tree/Makefile").touch()
    return folder


def test_the_one_made_last_is_found_in_the_cache(cache: Path) -> None:
    assert own.cached(own.UML) is None
    old, new = made("6.12.9"), made("6.12.10")
    (cache / "own/uml-6.13-0123456789ab").mkdir()  # of another configuration
    os.utime(old, (1, 1))
    found = own.cached(own.UML)
    assert found and found.tree == new / "tree"
    assert found.release == "6.12.10-uml"
    assert found.modules == new / "lib/modules/6.12.10-uml"


def test_a_build_folder_tells_whether_it_is_ours(cache: Path, tmp_path: Path) -> None:
    mine = own.of(made("6.12.10") / "tree")
    assert mine and mine.recipe == own.UML
    assert own.of(tmp_path / "uml-6.12/tree") is None
    assert own.of(cache / "own/other-6.12/tree") is None


def test_the_user_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = made("6.12.10") / "tree"
    monkeypatch.setattr(own, "make", lambda recipe: own.Own(recipe, tree))
    kernel = resolve("uml")
    assert (kernel.release, kernel.build, kernel.package) == ("6.12.10-uml", tree, None)


def test_where_it_cannot_run(dpkg: Callable[[str], None]) -> None:
    """It is told before anything is downloaded."""
    dpkg("arm64")
    with pytest.raises(ToolError) as error:
        resolve("uml")
    assert str(error.value) == (
        "--kernel uml: runs on amd64 only, and this machine is arm64 "
        "(name a kernel of Debian's: --kernel newest)"
    )


def test_what_builds_modules_is_kept(tmp_path: Path) -> None:
    keep = (
        *("Makefile", ".config", "Module.symvers", "include/net/sock.h", "scripts/Makefile.build"),
        *("arch/um/Makefile", "scripts/mod/modpost", "drivers/net/wireguard/main.c"),
        *("tools/testing/selftests/wireguard/netns.sh", "scripts/mod/modpost.c"),
        "tools/objtool/objtool",
    )
    lose = (
        *("vmlinux", "linux", "net/core/dev.c", "net/core/dev.o", "drivers/net/veth.c"),
        *("tools/objtool/check.c", "arch/um/kernel/um_arch.o", "include/x.cmd"),
    )
    for name in (*keep, *lose):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    own.prune(tmp_path)
    left = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()}
    assert left == set(keep)
