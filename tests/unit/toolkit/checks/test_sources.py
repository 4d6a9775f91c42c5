# SPDX-License-Identifier: GPL-2.0
"""./inv sources: a patch that does not apply is found, and so is what the mirror lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.progress import Progress

from tests.support.faketree import make
from toolkit import tables
from toolkit.checks import marked, sources
from toolkit.checks.sources import Tried
from toolkit.errors import ToolError
from toolkit.kernels.archive import Package
from toolkit.kernels.source import DRIVER
from toolkit.kmod import patching

pytestmark = pytest.mark.program("patch")

PATCHES = len(patching.series())


class Archive:
    """Serves what the test says: release -> packages."""

    serves: dict[str, list[Package]] = {}

    def __init__(self, codename: str) -> None:
        self.codename = codename

    def find(self, pattern: str) -> list[Package]:
        assert pattern == "^linux-source-[0-9]+[.][0-9]+$"
        return self.serves.get(self.codename, [])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two releases: a good source, one whose driver has changed, one that is gone."""
    served = [Package("linux-source-5.10", v) for v in ("5.10.3-1", "5.10.2-1", "5.10.1-1")]
    monkeypatch.setattr(sources, "Archive", Archive)
    monkeypatch.setattr(sources, "RELEASES", {"old": (), "new": ()})
    # the second release has one that the first also has
    monkeypatch.setattr(Archive, "serves", {"old": served, "new": served[:1]})
    make(tmp_path / "5.10.3-1", "5.10.3")
    send = make(tmp_path / "5.10.2-1", "5.10.2") / DRIVER / "send.c"
    send.write_text(send.read_text().replace("unsigned int padded_size", "int padded_size"))

    def driver(_archive: Archive, package: Package, _progress: Progress) -> Path:
        if not (tmp_path / package.version).exists():
            raise ToolError("apt-get failed with status 100")
        return tmp_path / package.version

    monkeypatch.setattr(sources, "_driver", driver)
    return tmp_path


TROUBLE = (
    "patches/0005-send-pad-only-what-can-be-unpadded.patch: hunk 1 of "
    "drivers/net/wireguard/send.c does not apply to Linux 5.10.2-1"
)


@pytest.mark.usefixtures("world")
def test_the_table_names_patch_and_hunk(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sources.sweep()
    said = capsys.readouterr()
    assert f"1 of 2 sources take the {PATCHES} patches; 1 not on the mirror" in said.out
    assert f"{TROUBLE}\n" in said.out
    assert "linux-source-5.10 5.10.1-1: apt-get failed with status 100" in said.err


def test_all_good(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for entry in (world / "5.10.2-1").rglob("*"):
        if entry.name == "send.c":
            entry.write_text((world / "5.10.3-1" / DRIVER / "send.c").read_text())
    assert sources.sweep()
    said = capsys.readouterr().out
    assert f"2 of 2 sources take the {PATCHES} patches; 1 not on the mirror" in said


def test_nothing_at_hand_is_no_success(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"old": [Package("linux-source-5.10", "5.10.1-1")]}
    monkeypatch.setattr(Archive, "serves", gone)
    assert not sources.sweep()
    monkeypatch.setattr(Archive, "serves", {})
    with pytest.raises(ToolError, match="no release of Debian serves a linux-source package"):
        sources.sweep()


def test_the_document() -> None:
    packages = [Package("linux-source-5.10", f"5.10.{n}-1") for n in (1, 2, 3)]
    results = [
        Tried("old", packages[0]),
        Tried("old", packages[1], TROUBLE),
        Tried("old", packages[2], here=False),
    ]
    assert sources.document(results) == (
        "1 of 2 sources take the patches.\n\n"
        "| linux-source | versions | patches |\n| --- | --- | --- |\n"
        "| 5.10 | 5.10.1-1 | apply |\n"
        f"| 5.10 | 5.10.2-1 | {TROUBLE} |\n"
        "| 5.10 | 5.10.3-1 | not on the mirror |"
    )


def test_a_result_stays_when_the_mirror_has_lost_the_source() -> None:
    earlier = {
        ("5.10", "5.10.1-1"): "apply",
        ("5.10", "5.10.2-1"): "not on the mirror",
        ("6.1", "6.1.4-1"): "apply; gone from the mirror",
        ("6.1", "6.1.5-1"): TROUBLE,
    }
    results = [
        Tried("old", Package("linux-source-5.10", "5.10.1-1"), here=False),
        Tried("old", Package("linux-source-6.1", "6.1.5-1")),
    ]
    assert tables.read(sources.document(results, earlier)) == [
        [
            ["linux-source", "versions", "patches"],
            ["5.10", "5.10.1-1", "apply; gone from the mirror"],
            ["5.10", "5.10.2-1", "not on the mirror"],
            ["6.1", "6.1.4-1", "apply; gone from the mirror"],
            ["6.1", "6.1.5-1", "apply"],
        ]
    ]


def test_a_part_of_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "kernels.md"
    file.write_text(
        "a\n<!-- one -->\nold\n<!-- end of one -->\n<!-- two -->\n<!-- end of two -->\n"
    )
    monkeypatch.setattr(marked, "file", lambda _: file)
    marked.put("one", r"new \1")
    marked.put("two", "x\ny")
    assert file.read_text() == (
        "a\n<!-- one -->\nnew \\1\n<!-- end of one -->\n<!-- two -->\nx\ny\n<!-- end of two -->\n"
    )
    with pytest.raises(ToolError) as error:
        marked.put("three", "x")
    assert str(error.value) == f"{file}: has no part <!-- three --> ... <!-- end of three -->"
