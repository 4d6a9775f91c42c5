# SPDX-License-Identifier: GPL-2.0
"""What a host has apart from links: policy rules, kernel parameters, tables of nftables."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..errors import from_os_error
from ..sockets import AF_INET, AF_INET6

FIB_RULE_INVERT = 2
SYSCTLS = Path("/proc/sys")


def rule(text: str) -> tuple[int, dict[str, int]]:
    """Family and values of a policy rule, from the text of `routing.rules`."""
    words = text.split()
    family = AF_INET6 if words[0] == "-6" else AF_INET
    if words[1] == "not":
        table = int(words[3])
        return family, {"table": table, "fwmark": table, "flags": FIB_RULE_INVERT}
    return family, {"table": 254, "FRA_SUPPRESS_PREFIXLEN": 0}


def read_sysctl(name: str) -> str:
    """The value of a kernel parameter.

    :raises L2wgError: it cannot be read.
    """
    path = SYSCTLS / name.replace(".", "/")
    try:
        return path.read_text().strip()
    except OSError as error:
        raise from_os_error(error, str(path)) from None


def write_sysctl(name: str, value: str) -> None:
    """Set a kernel parameter.

    :raises L2wgError: it cannot be written.
    """
    path = SYSCTLS / name.replace(".", "/")
    try:
        path.write_text(f"{value}\n")
    except OSError as error:
        raise from_os_error(error, str(path), True) from None


def nft_table_exists(table: str) -> bool:
    """Whether there is a table, by family and name; without nft nobody can tell, or remove it."""
    if shutil.which("nft") is None:
        return False
    pf = table.partition(" ")[0]
    listed = subprocess.run(
        ["nft", "list", "tables", pf], capture_output=True, text=True, check=False
    )
    return f"table {table}" in listed.stdout.splitlines()
