# SPDX-License-Identifier: GPL-2.0
"""The first link, by the commands of the README."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from tests.vm.ctl import ctl, file
from toolkit.guest.hosts import Host, eventually, underlay

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_first_link(hosts: Callable[..., list[Host]], tmp_path: Path) -> None:
    """`l2wgctl new` on A, B gets its file, `up` on both.

      A                                     B
    +--------------------+              +--------------------+
    | wg1  192.168.157.1 |==============| wg1  192.168.157.2 |
    | eth0 10.0.0.1      |--------------| eth0 10.0.0.2      |
    +--------------------+    cable     +--------------------+
    """
    a, b = hosts("A", "B")
    underlay(a, b)
    found = re.search(r"^ {4}l2wgctl (new (?:.*\\\n)*.*)", README, re.MULTILINE)
    assert found
    line = found[1].replace("\\\n", " ").replace("a.example.org", "10.0.0.1")
    said = ctl(a, *shlex.split(line), "--folder", str(tmp_path))
    assert (said.status, said.err) == (0, "")
    own = tmp_path / "wg1.conf"
    # the file that the README shows
    shown = re.search(r"^ {4}\[Interface\]\n(?: {4}.*\n|\n(?= {4}))+", README, re.MULTILINE)
    assert shown
    text = re.sub(r"(?m)Key = .*", "Key = ...", own.read_text())
    assert text == re.sub(r"(?m)^ {4}", "", shown[0])
    other = file(b, (tmp_path / "for-peer/wg1.conf").read_text())
    for host, path in ((a, str(own)), (b, other)):
        assert ctl(host, "up", path).status == 0
    eventually(lambda: b.ok("ping", "-c", "1", "-W", "1", "192.168.157.1"), "B has called")
    a.ping("192.168.157.2")
    said = ctl(a, "doctor", "wg1")
    assert said.status == 0, said.out
