# SPDX-License-Identifier: GPL-2.0
"""Name servers of a link: by systemd-resolved if it runs, else by resolvconf(8).

As with wg-quick(8), they look up every name, not only names in the search domains.
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
    """`resolvectl` or `resolvconf`, whichever manages /etc/resolv.conf here; None if neither."""
    resolvectl = resolved_runs()
    if resolvectl and RESOLV_CONF.resolve().parent == RESOLVED.resolve():
        return "resolvectl"
    if shutil.which("resolvconf"):
        return "resolvconf"
    return "resolvectl" if resolvectl else None


def outlives(by: str) -> bool:
    """Whether the settings stay when the link goes away."""
    return by == "resolvconf"


def plan(name: str, link: LinkOptions, by: str) -> Iterator[Step]:
    """The steps that set the name servers; `by` is a program."""
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
    """The step that removes them."""
    argv = ["resolvectl", "revert", name]
    if by == "resolvconf":
        argv = ["resolvconf", "-d", _resolvconf_name(name), "-f"]
    return Step(" ".join(argv), command(argv))


def _resolvconf_name(name: str) -> str:
    """The name with the prefix by which Debian's resolvconf orders interfaces."""
    try:
        with open(INTERFACE_ORDER, encoding="utf-8") as stream:
            for line in stream:
                prefix = line.strip()
                if prefix[-1:] == "*" and prefix[:-1].replace("-", "").isalnum():
                    return f"{prefix[:-1]}.{name}"
    except OSError:
        pass
    return name
