# SPDX-License-Identifier: GPL-2.0
"""Commands in the guest: what they printed is shown as text, whatever became of them."""

from __future__ import annotations

import pytest

from toolkit.guest import agent, hosts

SCRIPT = r"printf 'so far \303\244\377\n'; exec sleep 9"
SO_FAR = "so far \u00e4\ufffd\n"


def test_a_command_that_takes_too_long() -> None:
    with pytest.raises(hosts.Failed) as error:
        hosts.sh("sh", "-c", SCRIPT, timeout=0.5)
    assert str(error.value) == f"sh -c {SCRIPT}: no end after 0.5 s\n{SO_FAR}"


def test_a_silent_command_that_takes_too_long() -> None:
    with pytest.raises(hosts.Failed) as error:
        hosts.sh("sleep", "9", timeout=0.2)
    assert str(error.value) == "sleep 9: no end after 0.2 s\n"


def test_a_command_that_fails() -> None:
    with pytest.raises(hosts.Failed, match="^sh -c echo x; exit 3: status 3\nx\n$"):
        hosts.sh("sh", "-c", "echo x; exit 3")


def test_the_other_machines_command_likewise() -> None:
    asked: dict[str, object] = {"argv": ["sh", "-c", SCRIPT], "stdin": None, "timeout": 0.5}
    assert agent._run(asked) == [255, f"no end after 0.5 s\n{SO_FAR}"]
    lost = agent._run({"argv": ["/no/such"], "stdin": None, "timeout": 1})
    assert lost == [255, "[Errno 2] No such file or directory: '/no/such'"]
