# SPDX-License-Identifier: GPL-2.0
"""l2wgctl in a host: in this process, or as a program of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from l2wgctl.cli import main
from toolkit.guest.hosts import Failed, Host, eventually, inside, sh


class Said(NamedTuple):
    """What a run of l2wgctl came to."""

    status: int
    out: str
    err: str


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def ctl(host: Host, *words: str, **env: str) -> Said:
    """The command in this process, in the host's namespace: the same code, without a start of
    Python and pyroute2 (seconds under TCG)."""
    out, err = io.StringIO(), io.StringIO()
    with (
        inside(host),
        _environment(env),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main(words)
    return Said(status, out.getvalue(), err.getvalue())


def done(host: Host, *words: str, **env: str) -> str:
    """Output of a command that must succeed and say nothing else.

    :raises Failed: it does not.
    """
    said = ctl(host, *words, **env)
    if said.status or said.err:
        raise Failed(f"l2wgctl {' '.join(words)}: status {said.status}\n{said.err}{said.out}")
    return said.out


def program(
    host: Host, *words: str, before: Sequence[str] = (), stdin: str = "", **env: str
) -> Said:
    """The command as a program of its own. `before` are words before it, of setpriv(1) say."""
    ran = subprocess.run(
        [
            *("ip", "netns", "exec", host.name),
            *before,
            *(sys.executable, "-m", "l2wgctl", *words),
        ],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **env},
        check=False,
    )
    return Said(ran.returncode, ran.stdout, ran.stderr)


def file(host: Host, text: str, name: str = "wg1") -> str:
    """Write a configuration; its path, `/etc/l2wg-HOST/NAME.conf` (NAME may have a suffix)."""
    path = Path(f"/etc/l2wg-{host.name}/{name if '.' in name else f'{name}.conf'}")
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def pair_key() -> tuple[str, str]:
    """A new private key and its public one, by `wg`."""
    key = sh("wg", "genkey").strip()
    return key, sh("wg", "pubkey", stdin=key).strip()


def _carriers_known(host: Host) -> bool:
    """Has the kernel drawn the conclusions of each carrier? (It takes a second: link_watch.c.)"""
    links = json.loads(host.run("ip", "-j", "link"))
    return all(
        ("LOWER_UP" in link["flags"]) == (link["operstate"] in ("UP", "UNKNOWN"))
        for link in links
        if "UP" in link["flags"]
    )


def world(host: Host, *more: str) -> list[str]:
    """Everything that `up` may change in a host, line by line, counters and times left out.

    `more` is one more command to ask (`nft list ruleset`).
    """
    tentative = ("ip", "-6", "address", "show", "tentative")
    eventually(lambda: not host.run(*tentative), "addresses are settled")
    eventually(lambda: _carriers_known(host), "the links' states are settled")
    questions = ["-d link", "address", "rule", "-6 rule"]
    questions += [f"{family} route show table all" for family in ("-4", "-6")]
    lines = [line for words in questions for line in host.run("ip", *words.split()).splitlines()]
    if more:
        lines += host.run(*more).splitlines()
    # Of a bridge: its clocks, and what the kernel reckons anew whenever a port comes or goes, and
    # nobody can set (it begins with another value than a bridge has that has lost its last port).
    lines = [re.sub(r"\w+_timer +[\d.]+|tso_max_size \d+", "", line) for line in lines]
    return [line for line in lines if "valid_lft" not in line]


def unchanged(host: Host, before: list[str], *more: str) -> None:
    """Assert that the host's world is as it was.

    :raises AssertionError: with what has come and gone.
    """
    now = world(host, *more)
    come = [line for line in now if line not in before]
    gone = [line for line in before if line not in now]
    assert not come and not gone, f"came: {come}, went: {gone}"
