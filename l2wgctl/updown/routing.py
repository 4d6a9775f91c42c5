# SPDX-License-Identifier: GPL-2.0
"""Routes from AllowedIPs, and the default route through the tunnel, as wg-quick sets them up.

A default route goes into a table of its own, which all packets use except the tunnel's own (they
carry the firewall mark). Packets to the link's addresses that came in by another link are dropped,
so that nobody reaches the addresses past the tunnel.
"""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Callable

from ..conf.preflight import wanted_table
from ..conf.tables import table_number
from ..model import Device, LinkOptions
from ..sockets import AF_INET, AF_INET6
from .changes import found, step
from .host import read_sysctl, rule, write_sysctl
from .record import Change, Record
from .steps import Step, command

if TYPE_CHECKING:
    from ..netlink.link import Links

FIRST_TABLE = 51820
SRC_VALID_MARK = "net.ipv4.conf.all.src_valid_mark"

Network = "ipaddress.IPv4Network | ipaddress.IPv6Network"


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
    device: Device,
    link: LinkOptions,
    links: Links,
    mark: Callable[[int], None],
    record: Record,
) -> Iterator[Step]:
    """Steps for the routes; `mark` sets the device's firewall mark."""
    name = record.name
    table = wanted_table(link)
    if table == "off":
        return
    have = list(link.addresses)
    fwmark = device.fwmark or 0
    for network in networks(device):
        proto = "-6" if ":" in network else "-4"
        if table != "auto":
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
            yield from _plan_default(network, link, links, fwmark, record)
        elif not _covered(network, have):
            have.append(network)
            yield Step(
                f"ip {proto} route add {network} dev {name}", _route(links, network, name, None)
            )


def _call(function: Callable[[int], None], value: int) -> Callable[[], None]:
    return lambda: function(value)


def _route(links: Links, network: str, name: str, table: int | None) -> Callable[[], None]:
    return lambda: links.add_route(network, name, table)


def rules(proto: str, table: int) -> tuple[str, str]:
    """The policy rules of a default route: as `ip` names them, `proto` is -4 or -6."""
    return (
        f"{proto} not fwmark {table} table {table}",
        f"{proto} table main suppress_prefixlength 0",
    )


def _plan_default(
    network: str, link: LinkOptions, links: Links, table: int, record: Record
) -> Iterator[Step]:
    name = record.name
    family = AF_INET6 if ":" in network else AF_INET
    proto = "-6" if family == AF_INET6 else "-4"
    yield Step(
        f"ip {proto} route add {network} dev {name} table {table}",
        _route(links, network, name, table),
    )
    with record.shared():
        for text in rules(proto, table):
            yield from _plan_rule(text, links, record)
        if family == AF_INET:
            yield _plan_sysctl(SRC_VALID_MARK, "1", links, record)
    addresses = [a.partition("/")[0] for a in link.addresses if (":" in a) == (family == AF_INET6)]
    yield _firewall(name, family, addresses, table, links, record)


def _plan_rule(text: str, links: Links, record: Record) -> Iterator[Step]:
    """The rule of another link, or of wg-quick, serves as well."""
    family, values = rule(text)
    change = Change("rule", "", text)
    if links.rule_priority(family, **values) is not None:
        yield found(change, record, links)
        return
    proto, _, rest = text.partition(" ")
    yield step(
        f"ip {proto} rule add {rest}",
        lambda: links.rule("add", family, **values),
        change,
        record,
        links,
    )


def _plan_sysctl(name: str, value: str, links: Links, record: Record) -> Step:
    before = read_sysctl(name)
    change = Change("sysctl", "", name, value, before)
    if before == value:
        return found(change, record, links)
    return step(
        f"sysctl -q {name}={value}", lambda: write_sysctl(name, value), change, record, links
    )


def nft_table(pf: str, name: str) -> str:
    """Family and name of the nftables table of a link."""
    return f"{pf} l2wgctl-{name}"


def nft_rules(name: str, family: int, addresses: Sequence[str], mark: int) -> str:
    """The nftables script that `_firewall` loads."""
    pf = "ip6" if family == AF_INET6 else "ip"
    table = nft_table(pf, name)
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


def _firewall(
    name: str, family: int, addresses: Sequence[str], mark: int, links: Links, record: Record
) -> Step:
    if shutil.which("nft"):
        text = nft_rules(name, family, addresses, mark)
        return nft(text, nft_table("ip6" if family == AF_INET6 else "ip", name), links, record)
    program = "ip6tables-restore" if family == AF_INET6 else "iptables-restore"
    return step(
        f"{program} -n",
        command([program, "-n"], iptables_rules(name, addresses, mark, "I")),
        Change("iptables", "", program, iptables_rules(name, addresses, mark, "D")),
        record,
        links,
    )


def nft(text: str, table: str, links: Links, record: Record) -> Step:
    """The step that loads rules into a table of the link's own."""
    return step(
        "nft -f -", command(["nft", "-f", "-"], text), Change("nft", "", table), record, links
    )


def assumed(device: Device, link: LinkOptions, name: str) -> Iterator[Change]:
    """What `up` has probably done for the routes, if there is no record of it."""
    table = device.fwmark or 0
    if wanted_table(link) != "auto" or not table:
        return
    for family, proto, pf in ((AF_INET, "-4", "ip"), (AF_INET6, "-6", "ip6")):
        if not any(n.endswith("/0") and (":" in n) == (pf == "ip6") for n in networks(device)):
            continue
        for text in rules(proto, table):
            yield Change("rule", "", text)
        if shutil.which("nft"):
            yield Change("nft", "", nft_table(pf, name))
        else:
            addresses = [a.partition("/")[0] for a in link.addresses if (":" in a) == (pf == "ip6")]
            program = "ip6tables-restore" if family == AF_INET6 else "iptables-restore"
            yield Change("iptables", "", program, iptables_rules(name, addresses, table, "D"))
