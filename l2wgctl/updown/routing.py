# SPDX-License-Identifier: GPL-2.0
"""Routes from AllowedIPs, and the default route through the tunnel, as wg-quick sets them up.

A default route goes into a table of its own, which everything uses but the tunnel's own packets
(they carry the firewall mark). Packets to the link's addresses that did not come in by it are
dropped, so that the address is not reachable past the tunnel.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from ..model import Device, LinkOptions
from ..sockets import AF_INET, AF_INET6
from .steps import Step, command

if TYPE_CHECKING:
    from ..netlink.link import Links

FIRST_TABLE = 51820
FIB_RULE_INVERT = 2
SRC_VALID_MARK = Path("/proc/sys/net/ipv4/conf/all/src_valid_mark")

Network = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def wanted_table(link: LinkOptions) -> str:
    """The value of Table: by default off for an Ethernet link, auto for a routed one."""
    return link.table or ("off" if link.ethernet else "auto")


def takes_default_route(link: LinkOptions, device: Device) -> bool:
    """Whether `up` makes a default route, for which it chooses a mark if the file names none."""
    return wanted_table(link) == "auto" and any(n.endswith("/0") for n in networks(device))


def networks(device: Device) -> list[str]:
    """The AllowedIPs of all peers, the longest prefixes first, each once."""
    found = {
        str(ipaddress.ip_network(str(ip), strict=False)): ip.prefix
        for peer in device.peers
        for ip in peer.allowed_ips
    }
    return sorted(found, key=lambda text: -found[text])


def _covered(network: str, have: Sequence[str]) -> bool:
    wanted = ipaddress.ip_network(network)
    for text in have:
        other = ipaddress.ip_network(text, strict=False)
        if wanted.version == other.version and wanted.subnet_of(other):  # type: ignore[arg-type]
            return True
    return False


def plan_routes(
    name: str, device: Device, link: LinkOptions, links: Links, mark: Callable[[int], None]
) -> Iterator[Step]:
    """Steps for the routes; `mark` sets the device's firewall mark."""
    table = wanted_table(link)
    if table == "off":
        return
    have = list(link.addresses)
    fwmark = device.fwmark or 0
    for network in networks(device):
        proto = "-6" if ":" in network else "-4"
        if table != "auto":
            from ..netlink.link import table_number

            yield Step(
                f"ip {proto} route add {network} dev {name} table {table}",
                _route(links, network, name, table_number(table)),
            )
        elif network.endswith("/0"):
            if not fwmark:
                fwmark = FIRST_TABLE
                while links.table_used(fwmark):
                    fwmark += 1
                yield Step(f"l2wgctl set {name} fwmark {fwmark}", _call(mark, fwmark))
            yield from _plan_default(name, network, link, links, fwmark)
        elif not _covered(network, have):
            have.append(network)
            yield Step(
                f"ip {proto} route add {network} dev {name}", _route(links, network, name, None)
            )


def _call(function: Callable[[int], None], value: int) -> Callable[[], None]:
    return lambda: function(value)


def _route(links: Links, network: str, name: str, table: int | None) -> Callable[[], None]:
    return lambda: links.add_route(network, name, table)


def _rules(links: Links, family: int, table: int) -> list[tuple[str, dict[str, int]]]:
    proto = "-6" if family == AF_INET6 else "-4"
    return [
        (
            f"ip {proto} rule {{}} not fwmark {table} table {table}",
            {"table": table, "fwmark": table, "flags": FIB_RULE_INVERT},
        ),
        (
            f"ip {proto} rule {{}} table main suppress_prefixlength 0",
            {"table": 254, "FRA_SUPPRESS_PREFIXLEN": 0},
        ),
    ]


def _rule(links: Links, what: str, family: int, values: dict[str, int]) -> Callable[[], None]:
    return lambda: links.rule(what, family, **values)


def _plan_default(
    name: str, network: str, link: LinkOptions, links: Links, table: int
) -> Iterator[Step]:
    family = AF_INET6 if ":" in network else AF_INET
    proto = "-6" if family == AF_INET6 else "-4"
    yield Step(
        f"ip {proto} route add {network} dev {name} table {table}",
        _route(links, network, name, table),
    )
    for text, values in _rules(links, family, table):
        undo = Step(text.format("delete"), _rule(links, "del", family, values))
        yield Step(text.format("add"), _rule(links, "add", family, values), (undo,))
    if family == AF_INET:
        yield Step("sysctl -q net.ipv4.conf.all.src_valid_mark=1", _valid_mark)
    addresses = [a.partition("/")[0] for a in link.addresses if (":" in a) == (family == AF_INET6)]
    yield from _plan_firewall(name, family, addresses, table)


def _valid_mark() -> None:
    from ..errors import from_os_error

    try:
        SRC_VALID_MARK.write_text("1\n")
    except OSError as error:
        raise from_os_error(error, str(SRC_VALID_MARK), True) from None


def _nft_table(name: str) -> str:
    return f"l2wgctl-{name}"


def nft_rules(name: str, family: int, addresses: Sequence[str], mark: int) -> str:
    """The nftables script that `_plan_firewall` loads."""
    pf = "ip6" if family == AF_INET6 else "ip"
    table = f"{pf} {_nft_table(name)}"
    chain = "{{ type filter hook {} priority {}; }}"
    lines = [
        f"add table {table}",
        f"add chain {table} preraw {chain.format('prerouting', -300)}",
        f"add chain {table} premangle {chain.format('prerouting', -150)}",
        f"add chain {table} postmangle {chain.format('postrouting', -150)}",
    ]
    lines += [
        f'add rule {table} preraw iifname != "{name}" {pf} daddr {address} '
        "fib saddr type != local drop"
        for address in addresses
    ]
    lines += [
        f"add rule {table} postmangle meta l4proto udp mark {mark} ct mark set mark",
        f"add rule {table} premangle meta l4proto udp meta mark set ct mark",
    ]
    return "\n".join(lines) + "\n"


def iptables_rules(name: str, addresses: Sequence[str], mark: int, action: str) -> str:
    """The same for iptables-restore; `action` is I (insert) or D (delete)."""
    comment = f'-m comment --comment "l2wgctl rule for {name}"'
    drop = "".join(
        f"-{action} PREROUTING ! -i {name} -d {address} -m addrtype ! --src-type LOCAL "
        f"-j DROP {comment}\n"
        for address in addresses
    )
    return (
        f"*raw\n{drop}COMMIT\n*mangle\n"
        f"-{action} POSTROUTING -m mark --mark {mark} -p udp -j CONNMARK --save-mark {comment}\n"
        f"-{action} PREROUTING -p udp -j CONNMARK --restore-mark {comment}\nCOMMIT\n"
    )


def _plan_firewall(name: str, family: int, addresses: Sequence[str], mark: int) -> Iterator[Step]:
    pf = "ip6" if family == AF_INET6 else "ip"
    if shutil.which("nft"):
        delete = ["nft", "delete", "table", pf, _nft_table(name)]
        yield Step(
            "nft -f -",
            command(["nft", "-f", "-"], nft_rules(name, family, addresses, mark)),
            (Step(" ".join(delete), command(delete)),),
        )
        return
    restore = ["ip6tables-restore" if family == AF_INET6 else "iptables-restore", "-n"]
    text = " ".join(restore)
    yield Step(
        text,
        command(restore, iptables_rules(name, addresses, mark, "I")),
        (Step(text, command(restore, iptables_rules(name, addresses, mark, "D"))),),
    )


def plan_removal(name: str, device: Device, link: LinkOptions, links: Links) -> Iterator[Step]:
    """Steps that take away what `plan_routes` leaves beside the link itself."""
    table = device.fwmark or 0
    if wanted_table(link) != "auto" or not table:
        return
    for family, pf in ((AF_INET, "ip"), (AF_INET6, "ip6")):
        if not any(n.endswith("/0") and (":" in n) == (pf == "ip6") for n in networks(device)):
            continue
        for text, values in _rules(links, family, table):
            yield Step(text.format("delete"), _rule(links, "del", family, values))
        addresses = [a.partition("/")[0] for a in link.addresses if (":" in a) == (pf == "ip6")]
        if shutil.which("nft"):
            if _nft_table_exists(pf, name):
                delete = ["nft", "delete", "table", pf, _nft_table(name)]
                yield Step(" ".join(delete), command(delete))
        else:
            for step in _plan_firewall(name, family, addresses, table):
                yield from step.undo


def _nft_table_exists(pf: str, name: str) -> bool:
    listed = subprocess.run(
        ["nft", "list", "tables", pf], capture_output=True, text=True, check=False
    )
    return f"table {pf} {_nft_table(name)}" in listed.stdout.splitlines()
