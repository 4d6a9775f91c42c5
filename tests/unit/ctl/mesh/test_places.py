# SPDX-License-Identifier: GPL-2.0
"""Where peers may be: names in place of addresses."""

from __future__ import annotations

import pytest

from l2wgctl.mesh.places import Places, is_address
from l2wgctl.model import Endpoint


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("b.example", False),
        # The resolver reads these as 10.0.0.1, 0.0.0.7 or not at all; the kernel takes none.
        ("10.1", False),
        ("7", False),
        ("999.0.2.1", False),
    ],
)
def test_what_is_an_address(host: str, found: bool) -> None:
    assert is_address(Endpoint(host, 51820)) is found


def test_only_what_is_new_is_news() -> None:
    name, place = Endpoint("b.example", 1), (Endpoint("192.0.2.1", 1),)
    places = Places()
    assert places.learn({name: place})
    assert not places.learn({name: place})
    assert places.learn({name: ()})
