# SPDX-License-Identifier: GPL-2.0
"""Debian's archive as this machine's apt is configured."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolkit.errors import ToolError
from toolkit.kernels import archive as debian
from toolkit.kernels.archive import Archive, Package

#: By default and with --no-release-info; gives the command lines that have been asked.
Answer = Callable[..., list[list[str]]]

MAIN, SECURITY = "http://mirror.example/debian/", "http://mirror.example/debian-security/"


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    """Lets a test say what `apt-get indextargets` prints: URI|RELEASE|LABEL."""

    def answer(listing: str, every: str = "") -> list[list[str]]:
        asked = list[list[str]]()

        def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            assert argv[:2] == ["apt-get", "indextargets"]
            asked.append(argv)
            shown = every if every and "--no-release-info" in argv else listing
            return subprocess.CompletedProcess(argv, 0, shown, "")

        monkeypatch.setattr(debian, "run", run)
        debian.mirrors.cache_clear()
        return asked

    yield answer
    debian.mirrors.cache_clear()


def test_mirrors_by_their_labels(targets: Answer) -> None:
    targets(
        "http://other.example/tools/|stable|Tools\n"
        f"{SECURITY}|bookworm-security|Debian-Security\n"
        f"{MAIN}|bookworm|Debian\n"
        f"{MAIN}|bookworm-updates|Debian\n"
        "http://second.example/debian/|bookworm|Debian\n"
    )
    assert debian.mirrors() == (MAIN, SECURITY)


def test_apt_is_asked_for_its_mirrors_once(targets: Answer) -> None:
    asked = targets(f"{MAIN}|bookworm|Debian\n{SECURITY}|bookworm-security|Debian-Security\n")
    assert debian.mirrors() == (MAIN, SECURITY)
    assert len(asked) == 1


def test_mirrors_before_the_first_update_have_no_labels(targets: Answer) -> None:
    targets(
        "http://other.example/tools/|stable|\n"
        f"{SECURITY}|bookworm-security|\n{MAIN}|bookworm|\n{MAIN}|bookworm-updates|\n"
    )
    assert debian.mirrors() == (MAIN, SECURITY)


def test_mirrors_whose_lists_have_not_all_been_fetched(targets: Answer) -> None:
    """apt shows what it has; the security mirror is configured all the same."""
    targets(
        f"{MAIN}|bookworm|Debian\n",
        f"{MAIN}|bookworm|$(LABEL)\n{SECURITY}|bookworm-security|$(LABEL)\n",
    )
    assert debian.mirrors() == (MAIN, SECURITY)


def test_a_mirror_under_another_path_is_known_by_its_label(targets: Answer) -> None:
    targets("http://mirror.example/all/|bookworm|Debian\n")
    assert debian.mirrors() == ("http://mirror.example/all/", "")


@pytest.mark.parametrize(
    "listing", ["", "http://mirror.example/ubuntu/|noble|Ubuntu\n", f"{SECURITY}|x-security|\n"]
)
def test_no_debian(targets: Answer, listing: str) -> None:
    targets(listing)
    with pytest.raises(ToolError) as error:
        debian.mirrors()
    assert str(error.value) == (
        "apt: none of this machine's package sources is Debian's (add one, see sources.list(5))"
    )


@pytest.fixture
def archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dpkg: Callable[[str], None]
) -> Archive:
    """bookworm, with its cache in the test's folder and a keyring."""
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "keyring.gpg")
    (tmp_path / "keyring.gpg").touch()
    monkeypatch.setattr(debian, "mirrors", lambda: (MAIN, SECURITY))
    return Archive("bookworm")


def test_the_lines_for_apt(archive: Archive) -> None:
    by = f"deb [signed-by={debian.KEYRING} target=Packages]"
    assert archive.sources() == (
        f"{by} {MAIN} bookworm main\n"
        f"{by} {SECURITY} bookworm-security main\n"
        f"{by} {MAIN} bookworm-updates main\n"
        f"{by} {MAIN} bookworm-backports main\n"
    )


def test_what_apt_makes_of_the_lists_is_kept(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where this machine's apt keeps nothing, as containers' are set up."""
    settings = tmp_path / "apt.conf"
    settings.write_text('Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n')
    monkeypatch.setenv("APT_CONFIG", str(settings))
    for folder in ("lists/partial", "cache/archives/partial"):
        (archive.state / folder).mkdir(parents=True)
    (archive.state / "sources.list").touch()
    debian.run(["apt-cache", *archive._options(), "gencaches"])
    assert (archive.state / "cache/pkgcache.bin").stat().st_size


def test_sid_is_one_suite(archive: Archive) -> None:
    assert Archive("sid").sources().count("\n") == 1


def test_without_a_keyring(archive: Archive) -> None:
    debian.KEYRING.unlink()
    with pytest.raises(ToolError) as error:
        archive.update()
    assert str(error.value) == (
        f"{debian.KEYRING} is missing (apt-get install debian-archive-keyring)"
    )


class Apt:
    """apt-get update, which works or does not."""

    def __init__(self) -> None:
        self.works = True
        self.calls = 0

    def __call__(self, argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "update" in argv
        self.calls += 1
        said = "" if self.works else "W: some\nE: Could not resolve 'mirror.example'\n"
        return subprocess.CompletedProcess(argv, 0 if self.works else 100, "", said)


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    made = Apt()
    monkeypatch.setattr(debian, "run", made)
    return made


def test_no_lists_and_no_mirror(archive: Archive, apt: Apt) -> None:
    apt.works = False
    with pytest.raises(ToolError) as error:
        archive.update()
    assert str(error.value) == (
        "apt: bookworm: E: Could not resolve 'mirror.example' (is the package mirror reachable?)"
    )


def test_lists_are_fetched_once_a_day_and_old_ones_serve(
    archive: Archive,
    apt: Apt,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(debian, "SETTINGS", tmp_path / "apt")
    (tmp_path / "apt").mkdir()
    archive.update()
    archive.update()
    assert apt.calls == 1
    # and apt is not even asked, unless somebody has set it up anew
    later = time.time() + 60
    with monkeypatch.context() as context:
        context.setattr(Archive, "sources", lambda _: pytest.fail("asked"))
        archive.update()
        for touched in ("sources.list", "."):
            (tmp_path / "apt/sources.list").touch()
            os.utime(tmp_path / "apt" / touched, (later, later))
            with pytest.raises(pytest.fail.Exception):
                archive.update()
            os.utime(tmp_path / "apt" / touched, (1, 1))
    monkeypatch.setattr(debian, "LISTS_FRESH", -1)
    apt.works = False
    capsys.readouterr()
    archive.update()
    assert apt.calls == 2
    date = debian._date(archive.state / "updated")
    assert capsys.readouterr().err == (
        "Fetching bookworm's package lists\n"
        f"The mirror cannot be reached: going on with the lists of {date}\n"
    )


def test_a_package_that_is_not_served(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "find", lambda *_: [Package("linux-source-6.1", "6.1.1-1")])
    assert archive.get("linux-source-6.1").version == "6.1.1-1"
    with pytest.raises(ToolError) as error:
        archive.get("linux-source-6.1", "6.1.0-1")
    assert str(error.value) == "apt: bookworm does not serve linux-source-6.1 6.1.0-1"


def test_a_package_in_the_cache_is_not_downloaded(archive: Archive, apt: Apt) -> None:
    package = Package("gcc-12", "4:12.2.0-14")
    store = archive.state.parents[1] / "debs"
    store.mkdir(parents=True)
    file = store / "gcc-12_4%3a12.2.0-14_amd64.deb"
    file.touch()
    (store / "gcc-12_4%3a12.2.0-14_arm64.deb").touch()
    assert archive.fetch(package) == file
    assert Archive("bookworm", "arm64").fetch(package).stem.endswith("_arm64")
    every = store / "linux-source-6.1_6.1-1_all.deb"
    every.touch()
    for whose in (archive, Archive("bookworm", "arm64")):
        assert whose.fetch(Package("linux-source-6.1", "6.1-1")) == every
    assert apt.calls == 0


def test_packages_of_another_architecture(archive: Archive, apt: Apt) -> None:
    """Their lists are in a folder of their own, and this machine's stay as they are."""
    other = Archive("bookworm", "arm64")
    assert (other.architecture, archive.architecture) == ("arm64", "amd64")
    options = other._options()
    assert {"APT::Architecture=arm64", "APT::Architectures=arm64"} <= set(options)
    assert not [word for word in archive._options() if word.startswith("APT::Arch")]
    other.update()
    assert (other.state / "updated").exists() and not (archive.state / "updated").exists()
    assert f"Dir::State={other.state}" in options and other.state != archive.state
    assert other.sources() == archive.sources()
