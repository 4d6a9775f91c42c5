# SPDX-License-Identifier: GPL-2.0
"""Packages: root gets them installed, everybody else gets the line to type."""

from __future__ import annotations

import os
import subprocess

import pytest

from toolkit import needs as packages
from toolkit.errors import ToolError


class Apt:
    """dpkg-query and apt-get of a machine on which only `present` is installed."""

    def __init__(self, present: tuple[str, ...], refusals: int = 0) -> None:
        self.present = present
        self.refusals = refusals
        self.ran: list[list[str]] = []

    def __call__(
        self, argv: list[str], *, check: bool = True, **_: object
    ) -> subprocess.CompletedProcess[str]:
        if argv[0] == "dpkg-query":
            # a package that was removed is still known
            out = "".join(f"{p} installed\n" for p in self.present) + "gcc config-files\n"
            return subprocess.CompletedProcess(argv, 1, out, "")
        self.ran.append(argv)
        status = 0
        if "install" in argv and self.refusals:
            self.refusals -= 1
            status = 100
        return subprocess.CompletedProcess(argv, status, "", "")


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "NEEDS", {"build-module": ("make", "gcc", "bc")})


def machine(monkeypatch: pytest.MonkeyPatch, user: int, *present: str, refusals: int = 0) -> Apt:
    apt = Apt(present, refusals)
    monkeypatch.setattr(packages, "run", apt)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    return apt


@pytest.mark.usefixtures("needs")
def test_without_root_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    apt = machine(monkeypatch, 1000, "make")
    with pytest.raises(ToolError) as error:
        packages.ensure("build-module")
    assert str(error.value) == (
        "build-module: packages are missing (sudo apt-get install --no-install-recommends bc gcc)"
    )
    assert apt.ran == []


@pytest.mark.usefixtures("needs")
def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    apt = machine(monkeypatch, 1000, "make", "gcc", "bc")
    packages.ensure("build-module")
    assert apt.ran == []


INSTALL = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "bc", "gcc"]


@pytest.mark.usefixtures("needs")
def test_root_gets_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    apt = machine(monkeypatch, 0, "make")
    packages.ensure("build-module")
    assert apt.ran == [INSTALL]


@pytest.mark.usefixtures("needs")
def test_outdated_lists_are_fetched_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    apt = machine(monkeypatch, 0, "make", refusals=1)
    packages.ensure("build-module")
    assert apt.ran == [INSTALL, ["apt-get", "update", "-qq"], INSTALL]
