# SPDX-License-Identifier: GPL-2.0
"""What a unit test needs of this machine: without it the test is skipped, in CI it fails."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from toolkit.errors import ToolError

with suppress(ImportError):  # a Debian that runs some of these tests may lack it
    from hypothesis import settings

    # No test judges a time: a machine with other work is no mistake of ours.
    settings.register_profile("l2wg", deadline=None)
    settings.load_profile("l2wg")

#: What our own code says of a program that is not there.
MISSING = re.compile(r"(\S+): program not found|no C compiler '(\S+)'|no (clang)$")


def lacking(error: BaseException) -> str | None:
    """The program for want of which a test has failed; None if it failed otherwise."""
    name = None
    if isinstance(error, ToolError) and (found := MISSING.match(error.what)):
        name = next(filter(None, found.groups()))
    elif isinstance(error, FileNotFoundError) and error.filename:
        name = str(error.filename)
    return name if name and "/" not in name and not shutil.which(name) else None


def without(name: str) -> None:
    """Skip this test; where nothing may be skipped, fail it."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {name}")


@contextmanager
def skipped_for_want_of_a_program() -> Iterator[None]:
    try:
        yield
    except (ToolError, FileNotFoundError) as error:
        if name := lacking(error):
            without(name)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    for mark in item.iter_markers("program"):
        for name in mark.args:
            if not shutil.which(name):
                without(name)
    with skipped_for_want_of_a_program():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with skipped_for_want_of_a_program():
        return (yield)
