# SPDX-License-Identifier: GPL-2.0
"""The series goes in whole or not at all, and comes out without a trace."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.faketree import make, snapshot
from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.source import DRIVER
from toolkit.kmod import patching

pytestmark = pytest.mark.program("patch")

TREES = sorted(p for p in (paths.cache() / "source").glob("[0-9]*") if (p / DRIVER).is_dir())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "linux")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} is not once in {file.name}"
    file.write_text(text.replace(old, new))


def refusal(tree: Path, *, reverse: bool = False) -> str:
    """What patch_tree() says, after which the tree is as it was."""
    before = snapshot(tree)
    with pytest.raises(ToolError) as error:
        patching.patch_tree(tree, reverse=reverse)
    assert snapshot(tree) == before, "the tree has changed"
    return str(error.value)


def test_the_series_is_numbered_without_a_gap() -> None:
    assert [int(p.name[:4]) for p in patching.series()] == list(
        range(1, len(patching.series()) + 1)
    )


def test_what_is_added(tree: Path) -> None:
    changed = patching.patch_tree(tree)
    driver = tree / DRIVER
    for name, text in patching.own_files().items():
        assert name in changed
        assert (driver / name).read_text() == text
    assert {"Makefile", "device.c", "l2wg_dev.c", "l2wg_frame.c", "l2wg_version.h"} <= set(changed)
    assert "noise.c" not in changed
    assert f'#define L2WG_VERSION "{paths.version()}"' in (driver / "l2wg_version.h").read_text()
    objects = (driver / "l2wg_kbuild.mk").read_text()
    built = re.findall(r"^wireguard-y \+= (l2wg_\w+)\.o$", objects, re.M)
    assert built == [p.stem for p in sorted(paths.KERNEL.glob("l2wg_*.c"))]
    assert "\tret = l2wg_link_register(&link_ops, &netdev_ops);\n" in (
        (driver / "device.c").read_text()
    )


@pytest.mark.parametrize("options", [["-DL2WG_STANDALONE"], []], ids=["standalone", "in a tree"])
def test_an_alias_leaves_no_stray_semicolon(tmp_path: Path, options: list[str]) -> None:
    """ISO C has no empty declaration outside of a function."""
    header = (paths.KERNEL / "l2wg_dev.h").read_text()
    macro = re.findall(r"^#ifdef L2WG_STANDALONE\n.*?^#endif\n", header, re.M | re.S)
    assert len(macro) == 1 and "define L2WG_IN_TREE" in macro[0]
    source = tmp_path / "alias.c"
    source.write_text(
        "#define static_assert(it) _Static_assert(it, #it)\n"
        f"{macro[0]}L2WG_IN_TREE(extern int alias);\n"
    )
    argv = ["cc", "-std=gnu11", "-Wpedantic", "-Werror", "-fsyntax-only", *options, str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_round_trip_leaves_no_trace(tree: Path) -> None:
    before = snapshot(tree)
    into = patching.patch_tree(tree)
    during = snapshot(tree)
    assert {n for n in during if during[n] != before.get(n)} == {str(DRIVER / n) for n in into}
    for name in before:
        assert during[name][1] == before[name][1], f"{name} has another mode"
    out = patching.patch_tree(tree, reverse=True)
    assert snapshot(tree) == before
    assert sorted(out) == sorted(into)


def test_lines_may_have_moved(tree: Path) -> None:
    for name in ("device.c", "receive.c"):
        file = tree / DRIVER / name
        file.write_text("/* new */\n" * 25 + file.read_text())
    patching.patch_tree(tree)
    assert "trimmed:\n" in (tree / DRIVER / "receive.c").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "where"),
    [
        (
            *("device.c", "\tret = rtnl_link_register(&link_ops);", "\tret = 0;"),
            "0001-device-offer-the-l2wireguard-link-kind.patch: hunk 2 of",
        ),
        # only a line beside the change is another: patch(1) would guess with its default fuzz
        (
            *("receive.c", "\tif (unlikely(skb_network_header(skb) < skb->head))", "\tif (x)"),
            "0004-receive-take-the-length-from-the-frame.patch: hunk 1 of",
        ),
        (
            *("netlink.c", "\treturn genl_register_family(&genl_family);", "\treturn 0;"),
            "0006-netlink-serve-both-link-kinds.patch: hunk 2 of",
        ),
    ],
)
def test_a_hunk_that_does_not_apply(tree: Path, file: str, old: str, new: str, where: str) -> None:
    edit(tree / DRIVER / file, old, new)
    assert refusal(tree) == (
        f"patches/{where} drivers/net/wireguard/{file} does not apply to Linux 6.1.192"
    )


def test_a_file_that_is_not_there(tree: Path) -> None:
    (tree / DRIVER / "allowedips.c").unlink()
    assert refusal(tree) == (
        "patches/0003-allowedips-look-up-the-addresses-of-a-frame.patch: "
        "drivers/net/wireguard/allowedips.c is not in Linux 6.1.192"
    )


def test_twice_is_refused(tree: Path) -> None:
    patching.patch_tree(tree)
    assert refusal(tree) == f"{tree}: has l2wg already (take it out first: --reverse)"


def test_out_of_a_tree_without_it(tree: Path) -> None:
    assert refusal(tree, reverse=True) == f"{tree}: has no l2wg"


@pytest.mark.parametrize("lost", ["Makefile", f"{DRIVER}/main.c"])
def test_not_a_kernel_tree(tree: Path, lost: str) -> None:
    (tree / lost).unlink()
    assert refusal(tree) == f"{tree}: not a kernel source tree with drivers/net/wireguard"


def test_own_files_that_were_changed_stay(tree: Path) -> None:
    patching.patch_tree(tree)
    file = tree / DRIVER / "l2wg_frame.c"
    file.write_text(file.read_text() + "/* mine */\n")
    assert refusal(tree, reverse=True) == (
        "drivers/net/wireguard/l2wg_frame.c is not from this l2wg: it was changed, removed or "
        "comes from another version (take it out with the l2wg that put it in)"
    )


def test_own_files_that_were_removed(tree: Path) -> None:
    patching.patch_tree(tree)
    (tree / DRIVER / "l2wg_frame.h").unlink()
    assert refusal(tree, reverse=True) == (
        "drivers/net/wireguard/l2wg_frame.h is not from this l2wg: it was changed, removed or "
        "comes from another version (take it out with the l2wg that put it in)"
    )


def test_a_patched_file_that_was_changed_stays(tree: Path) -> None:
    patching.patch_tree(tree)
    edit(tree / DRIVER / "device.c", "\tl2wg_link_unregister(&link_ops);", "\t;")
    assert refusal(tree, reverse=True) == (
        "patches/0001-device-offer-the-l2wireguard-link-kind.patch: hunk 3 of "
        "drivers/net/wireguard/device.c cannot be taken out of Linux 6.1.192"
    )


@pytest.mark.skipif(not TREES, reason="no kernel source in the cache: ./inv build-module")
@pytest.mark.parametrize("real", TREES, ids=lambda p: str(p.name))
def test_the_series_fits_the_kernels_in_the_cache(tmp_path: Path, real: Path) -> None:
    shutil.copytree(real / DRIVER, tmp_path / DRIVER)
    shutil.copy(real / "Makefile", tmp_path / "Makefile")
    before = snapshot(tmp_path)
    patching.patch_tree(tmp_path)
    assert len(snapshot(tmp_path)) == len(before) + len(patching.own_files())
    patching.patch_tree(tmp_path, reverse=True)
    assert snapshot(tmp_path) == before
