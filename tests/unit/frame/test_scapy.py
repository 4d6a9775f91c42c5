# SPDX-License-Identifier: GPL-2.0
"""Frames that scapy made."""

from __future__ import annotations

import pytest

from tests.unit.frame.framekit import OPAQUE, check
from tests.unit.frame.scapyframes import opaque, with_length
from toolkit.frame.library import Frame, Verdict

WITH_LENGTH = with_length()
WITHOUT = opaque()


@pytest.mark.parametrize("name", WITH_LENGTH)
def test_length(name: str) -> None:
    data, padding = WITH_LENGTH[name]
    end = len(data) - padding
    assert check(data) == Frame(Verdict.LENGTH, end)
    assert check(data[:end]) == Frame(Verdict.LENGTH, end)


@pytest.mark.parametrize("name", WITHOUT)
def test_opaque(name: str) -> None:
    assert check(WITHOUT[name]) == OPAQUE
