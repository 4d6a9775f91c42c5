# SPDX-License-Identifier: GPL-2.0
"""Name servers of a link: by systemd-resolved where that runs, else by resolvconf(8).

As with wg-quick(8) every name is asked of them, not those of the search domains only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ..conf.preflight import RESOLVED, resolved_runs
from ..model import LinkOptions
from .steps import Step, command

INTERFACE_ORDER = "/etc/resolvconf/interface-order"
RESOLV_CONF = Path("/etc/resolv.conf")


def program() -> str | None:
    """`resolvectl` or `resolvconf`, whichever rules /etc/resolv.conf here; None if neither."""
    resolvectl = resolved_runs()
    if resolvectl and RESOLV_CONF.resolve().parent == RESOLVED.resolve():
        return "resolvectl"
    if shutil.which("resolvconf"):
        return "resolvconf"
    return "resolvectl" if resolvectl else None


def outlives(by: str) -> bool:
    """Whether what was set stays when the link goes."""
    return by == "resolvconf"


def plan(name: str, link: LinkOptions, by: str) -> Iterator[Step]:
    """The steps that set them; `by` is a program."""
    if by == "resolvconf":
        text = "".join(f"nameserver {server}\n" for server in link.dns)
        if link.dns_search:
            text += f"search {' '.join(link.dns_search)}\n"
        argv = ["resolvconf", "-a", _resolvconf_name(name), "-m", "0", "-x"]
        yield Step(" ".join(argv), command(argv, text))
        return
    for argv in (
        ["resolvectl", "dns", name, *link.dns],
        ["resolvectl", "domain", name, *link.dns_search, "~."],
        ["resolvectl", "default-route", name, "yes"],
    ):
        if link.dns or argv[1] == "domain":
            yield Step(" ".join(argv), command(argv))


def undo(by: str, name: str) -> Step:
    """The step that takes them away."""
    argv = ["resolvectl", "revert", name]
    if by == "resolvconf":
        argv = ["resolvconf", "-d", _resolvconf_name(name), "-f"]
    return Step(" ".join(argv), command(argv))


def _resolvconf_name(name: str) -> str:
    """With the prefix that Debian's resolvconf orders interfaces by."""
    try:
        with open(INTERFACE_ORDER, encoding="utf-8") as stream:
            for line in stream:
                prefix = line.strip()
                if prefix[-1:] == "*" and prefix[:-1].replace("-", "").isalnum():
                    return f"{prefix[:-1]}.{name}"
    except OSError:
        pass
    return name
