# SPDX-License-Identifier: GPL-2.0
"""A folder appears whole, in one step, or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolkit import paths


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "target"
    with paths.built_whole(target) as work:
        (work / "file").write_text("x")
        assert not target.exists()
        assert work.parent == target.parent, "a rename across file systems is not atomic"
    assert names(target) == ["file"]
    assert names(target.parent) == ["target"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_old_one_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    with paths.built_whole(target) as work:
        (work / "new").touch()
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, existed: bool, error: type[BaseException]
) -> None:
    target = tmp_path / "target"
    if existed:
        target.mkdir()
        (target / "old").touch()
    with pytest.raises(error), paths.built_whole(target) as work:
        (work / "new").touch()
        raise error
    assert names(tmp_path) == (["target"] if existed else [])
    if existed:
        assert names(target) == ["old"]


def test_only_one_makes_what_is_not_there(tmp_path: Path) -> None:
    target, made = tmp_path / "new" / "target", []

    def make(_: int) -> None:
        with paths.alone(target):
            if not target.exists():
                with paths.built_whole(target) as work:
                    time.sleep(0.05)
                    (work / "file").touch()
                made.append(target)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert made == [target]


def test_the_cache_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "here"))
    assert paths.cache() == tmp_path / "here"
    assert paths.cache().is_dir()


def test_paths_are_shown_as_they_would_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.shown(tmp_path / "a" / "b") == "a/b"
    assert paths.shown(tmp_path.parent / "c") == str(tmp_path.parent / "c")
