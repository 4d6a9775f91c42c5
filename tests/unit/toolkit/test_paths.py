# SPDX-License-Identifier: GPL-2.0
"""A folder appears whole, in one step, or not at all."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from toolkit import paths
from toolkit.errors import ToolError


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


def test_who_waits_for_another_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel of our own takes somebody else 20 minutes."""
    said: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(paths, "say", said.put)
    monkeypatch.setattr(paths, "PATIENCE", 0)
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with paths.alone(tmp_path / "uml"):
            waiting = pool.submit(lambda: paths.alone(tmp_path / "uml").__enter__())
            assert said.get(timeout=60) == "Waiting for another run, which makes uml"
        waiting.result()


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


class TestClean:
    """Only what is provably ours is removed, and no link is followed."""

    @pytest.fixture(autouse=True)
    def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
        monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
        (tmp_path / "build/logs").mkdir(parents=True)

    def fill(self) -> Path:
        cache = paths.cache()
        for name in ("debs", "apt"):
            (cache / name).mkdir()
            (cache / name / "file").touch()
        (cache / "kvm.json").touch()
        with paths.alone(cache / "kvm.json"):
            pass
        return cache

    def test_what_was_built(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.fill()
        paths.clean()
        assert names(tmp_path) == ["cache"]
        assert capsys.readouterr().out == f"removed {tmp_path}/build\n"
        paths.clean()  # nothing to do is no error

    def test_all(self, tmp_path: Path) -> None:
        self.fill()
        paths.clean(all=True)
        assert names(tmp_path) == []

    def test_a_home_is_no_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = tmp_path / "home"
        (home / "debs").mkdir(parents=True)
        (home / "letter.txt").touch()
        monkeypatch.setenv("L2WG_CACHE", str(home))
        for use in (paths.cache, lambda: paths.clean(all=True)):
            with pytest.raises(ToolError) as error:
                use()
            assert str(error.value) == (
                f"{home}: not a cache of l2wg's, it has letter.txt "
                "(name a new or empty folder: L2WG_CACHE=...)"
            )
        assert names(home) == ["debs", "letter.txt"]

    def test_a_foreign_file_in_the_cache_stays(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cache = self.fill()
        (cache / "letter.txt").touch()
        paths.clean(all=True)
        assert names(cache) == [paths.MARKER, "letter.txt"]
        said = capsys.readouterr().out
        assert f"emptied {cache}; not l2wg's, and still there: letter.txt\n" in said

    @pytest.mark.parametrize("place", ["build", "cache", "cache/debs"])
    def test_a_link_is_not_followed(
        self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = self.fill()
        link, real = tmp_path / place, tmp_path / "elsewhere"
        link.rename(real)
        link.symlink_to(real)
        before = names(real)
        with pytest.raises(ToolError, match=f"^{link}: a link, not removed "):
            paths.clean(all=True)
        assert names(real) == before and link.is_symlink()
        assert cache.exists()

    def test_a_link_inside_goes_alone(self, tmp_path: Path) -> None:
        cache = self.fill()
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").touch()
        (cache / "debs/link").symlink_to(precious)
        paths.clean(all=True)
        assert names(tmp_path) == ["precious"] and names(precious) == ["file"]

    def test_an_old_cache_of_ours_is_known(self, tmp_path: Path) -> None:
        """From before there was a mark: all that it has are things that we put into one."""
        (tmp_path / "cache/debs").mkdir(parents=True)
        (tmp_path / "cache/.kvm.json.lock").touch()
        assert (paths.cache() / paths.MARKER).exists()

    def test_a_file_is_no_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "file"))
        with pytest.raises(ToolError, match=f"^{tmp_path}/file: cannot be the cache: File exists"):
            paths.cache()


def test_whatever_is_cached_is_known_to_clean() -> None:
    sources = "".join(p.read_text() for p in (paths.ROOT / "toolkit").rglob("*.py"))
    used = set(re.findall(r'cache\(\) / "([^"]+)"', sources))
    assert used and used <= paths.CACHED


class TestClaim:
    """Two commands at once in one checkout do not write into each other's logs."""

    @pytest.fixture
    def other(self, tmp_path: Path) -> Iterator[None]:
        """Another process, which has claimed the log `vm-0-6.1`."""
        code = "import sys; from pathlib import Path; from toolkit import paths\n"
        code += "print(paths.unused(Path(sys.argv[1])), flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "vm-0-6.1"],
            cwd=paths.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout and process.stdout.readline() == f"{tmp_path}/vm-0-6.1\n"
            yield

    @pytest.mark.usefixtures("other")
    def test_a_folder_in_use_is_not_emptied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(paths, "LOGS", tmp_path)
        (tmp_path / "vm-0-6.1").mkdir()
        (tmp_path / "vm-0-6.1/report.xml").touch()
        for use in (paths.fresh, paths.claim):
            with pytest.raises(ToolError) as error:
                use(tmp_path / "vm-0-6.1")
            assert error.value.what == f"{tmp_path}/vm-0-6.1: another run writes there"
        assert names(tmp_path / "vm-0-6.1") == ["report.xml"]

    @pytest.mark.usefixtures("other")
    def test_one_beside_it_is_free(self, tmp_path: Path) -> None:
        mine = paths.unused(tmp_path / "vm-0-6.1")
        assert mine == tmp_path / "vm-0-6.1-2"
        assert paths.unused(tmp_path / "vm-0-6.1") == mine, "it is this process's, for all parts"

    def test_what_guests_start_from_is_not_replaced(self, tmp_path: Path) -> None:
        """Whoever edits the C while tests run would have them go on with another module."""
        code = "import sys; from pathlib import Path; from toolkit import paths\n"
        code += "paths.may_replace(Path(sys.argv[1])); paths.keep(Path(sys.argv[1]))\n"
        code += "print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "lab"],
            cwd=paths.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout and other.stdout.readline()
            paths.keep(tmp_path / "lab")  # the same lab suits both
            with pytest.raises(ToolError) as error:
                paths.may_replace(tmp_path / "lab")
            assert error.value.what == (
                f"{tmp_path}/lab: has to be made anew, and guests of another run start from it"
            )
            other.communicate()
        paths.may_replace(tmp_path / "lab")  # only this process keeps it

    def test_it_is_free_when_its_process_has_ended(self, tmp_path: Path) -> None:
        code = "import sys; from pathlib import Path; from toolkit import paths\n"
        code += "paths.claim(Path(sys.argv[1])); import os; os.kill(os.getpid(), 9)"
        argv = [sys.executable, "-c", code, str(tmp_path / "log")]
        assert subprocess.run(argv, cwd=paths.ROOT, check=False).returncode == -9
        assert paths.unused(tmp_path / "log") == tmp_path / "log"


@pytest.mark.parametrize(
    "names",
    [("matrix", "../../../linux"), ("matrix", "/etc"), ("..",), ("vm", "0", "a b/../c"), ("",)],
)
def test_logs_lie_below_the_checkout(names: tuple[str, ...]) -> None:
    """A kernel may be named by its folder, and the folder of its logs is emptied."""
    made = paths.logs(*names)
    assert ".." not in made.parts and made.is_relative_to(paths.LOGS)


def test_only_folders_of_ours_are_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path, paths.BUILD / "../docs"):
        with pytest.raises(AssertionError):
            paths.fresh(folder)
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    (tmp_path / "logs/a").mkdir(parents=True)
    (tmp_path / "logs/a/old").touch()
    assert names(paths.fresh(tmp_path / "logs/a")) == []
