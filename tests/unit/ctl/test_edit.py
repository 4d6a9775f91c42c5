# SPDX-License-Identifier: GPL-2.0
"""save: what people have written stays, and what it says is what the link is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2wgctl.conf import files
from l2wgctl.conf.edit import edit
from l2wgctl.conf.names import scan
from l2wgctl.conf.parse import parse
from l2wgctl.conf.values import allowed_ip, public_key, secret_key
from l2wgctl.errors import L2wgError
from l2wgctl.model import Device, Endpoint, Peer
from l2wgctl.render import showconf
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, PRIVATE, PSK
from tests.unit.ctl.fakekernel import FakeKernel

from .test_sync import connect, files_, state

TEXT = f"""# My tunnel.
[Interface]
  PrivateKey={PRIVATE}   # mine
ListenPort = 51820
Address = 10.0.0.1/24, fd00::1/64  # both
Address = 10.0.1.1/24
# the MTU of the provider
MTU = 1300
PostUp = echo a, b # no

# The laptop.
# It travels.
[Peer]
Name = laptop
PublicKey = {PEER_A} # its key
AllowedIPs = 10.1.0.0/16, 10.2.0.0/16 # two
AllowedIPs = fd01::/64
Endpoint = laptop.example:51820
PersistentKeepalive = 25

# The office.
[Peer]
PublicKey = {PEER_B}
AllowedIPs = 0.0.0.0/0
Endpoint = 192.0.2.1:5 # by number
"""


def device() -> Device:
    """The link that TEXT makes."""
    said = parse(TEXT, "").device
    peers = [p._replace(name=None, replace_allowed_ips=False) for p in said.peers]
    peers[0] = peers[0]._replace(endpoint=Endpoint("198.51.100.7", 40000))
    return said._replace(name="wg1", peers=tuple(peers))


ADDRESSES = ["10.0.0.1/24", "fd00::1/64", "10.0.1.1/24"]


def edited(now: Device, addresses: list[str] = ADDRESSES, mtu: int = 1300, text: str = TEXT) -> str:
    return edit(text, parse(text, ""), now, addresses, mtu)


def test_what_has_not_changed_stays_to_the_byte() -> None:
    assert edited(device()) == TEXT
    odd = TEXT.replace("\n", "\n\n").replace(" = ", "\t=  ")
    assert edited(device(), text=odd) == odd.rstrip("\n") + "\n"


def test_values_change_in_their_lines() -> None:
    now = device()
    laptop, office = now.peers
    laptop = laptop._replace(persistent_keepalive=0, preshared_key=secret_key(PSK))
    office = office._replace(
        endpoint=Endpoint("2001:db8::1", 7), persistent_keepalive=5, allowed_ips=()
    )
    now = now._replace(listen_port=77, fwmark=16, peers=(laptop, office))
    want = (
        TEXT.replace("ListenPort = 51820", "ListenPort = 77")
        .replace("PostUp = echo a, b # no\n", "PostUp = echo a, b # no\nFwMark = 0x10\n")
        .replace("PersistentKeepalive = 25\n", f"PresharedKey = {PSK}\n")
        .replace(
            "192.0.2.1:5 # by number\n", "[2001:db8::1]:7 # by number\nPersistentKeepalive = 5\n"
        )
        .replace("AllowedIPs = 0.0.0.0/0\n", "")
        .replace("MTU = 1300", "MTU = 1280")
    )
    assert edited(now, mtu=1280).splitlines() == want.splitlines()


def test_lists_change_where_they_stand() -> None:
    now = device()
    networks = tuple(map(allowed_ip, ["10.2.0.0/16", "fd01::/64", "10.9.0.0/16"]))
    now = now._replace(peers=(now.peers[0]._replace(allowed_ips=networks), now.peers[1]))
    want = (
        TEXT.replace("10.1.0.0/16, 10.2.0.0/16 # two", "10.2.0.0/16 # two")
        .replace("= fd01::/64", "= fd01::/64, 10.9.0.0/16")
        .replace("= 10.0.0.1/24, fd00::1/64  # both", "= fd00::1/64  # both")
        .replace("Address = 10.0.1.1/24\n", "")
    )
    assert edited(now, ["fd00::1/64"]) == want
    none = edited(now, [])
    assert "Address" not in none and "# the MTU of the provider" in none
    assert "Address = 10.7.0.1/24\n" in edit(none, parse(none, ""), now, ["10.7.0.1/24"])


def test_peers_come_and_go_with_their_comments() -> None:
    now = device()
    new = Peer(public_key(PEER_C), allowed_ips=(allowed_ip("10.9.0.0/16"),), persistent_keepalive=9)
    text = edited(now._replace(peers=(now.peers[1], new)))
    start = TEXT.index("# The laptop.")
    end = TEXT.index("# The office.")
    assert text == (
        TEXT[:start] + TEXT[end:] + f"\n[Peer]\nPublicKey = {PEER_C}\nAllowedIPs = 10.9.0.0/16\n"
        "PersistentKeepalive = 9\n"
    )


def test_keys_go_when_the_link_has_none() -> None:
    now = device()._replace(private_key=None)
    assert edited(now) == TEXT.replace(f"  PrivateKey={PRIVATE}   # mine\n", "")
    other = device()._replace(private_key=secret_key(PSK))
    assert f"  PrivateKey= {PSK}   # mine\n" in edited(other)


def test_what_the_kernel_has_chosen_is_not_the_files() -> None:
    text = TEXT.replace("ListenPort = 51820", "ListenPort = 0")
    assert edited(device()._replace(listen_port=40000), text=text) == text
    marked = device()._replace(fwmark=51820)
    assert edit(TEXT, parse(TEXT, ""), marked, ADDRESSES, keep_fwmark=True) == TEXT
    assert "FwMark = 0xca6c" in edit(TEXT, parse(TEXT, ""), marked, ADDRESSES)


def test_a_network_of_two_peers_stays_with_both() -> None:
    """The file gives it to both, the kernel has it with the later: nothing has changed."""
    text = TEXT.replace("AllowedIPs = 0.0.0.0/0", "AllowedIPs = 0.0.0.0/0, fd01::/64")
    now = device()
    first = now.peers[0]._replace(allowed_ips=now.peers[0].allowed_ips[:2])
    second = now.peers[1]._replace(allowed_ips=(*now.peers[1].allowed_ips, allowed_ip("fd01::/64")))
    assert edited(now._replace(peers=(first, second)), text=text) == text


@settings(max_examples=150, deadline=None)
@given(files_, files_, st.lists(st.sampled_from(ADDRESSES), unique=True))
def test_what_it_says_is_what_the_link_is(
    before: Device, after: Device, addresses: list[str]
) -> None:
    """From any file and any state: parsed again, it is that state, and saved again, the same."""
    kernel = FakeKernel()
    for name in ("wg1", "wg2"):
        kernel.add(name)
    wireguard = connect(kernel)
    wireguard.set_device(files.whole(before, "wg1"))
    text = "".join(showconf(before, before.peers))
    config = parse(text, "")
    wireguard.set_device(files.whole(after, "wg1"))
    now = wireguard.get_device("wg1")
    saved = edit(text, config, now, addresses)
    again = parse(saved, "")
    assert list(again.link.addresses) == addresses
    wireguard.set_device(files.whole(again.device, "wg2"))
    endpoints = {peer.public_key: peer.endpoint for peer in now.peers}
    made = wireguard.get_device("wg2")
    for peer in made.peers:
        if endpoints[peer.public_key] is None:  # the file's stays, the kernel has forgotten it
            made = made._replace(
                peers=tuple(p._replace(endpoint=None) if p == peer else p for p in made.peers)
            )
    assert state(made) == state(now)
    assert edit(saved, again, now, addresses) == saved


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("ListenPort =\nListenPort = 5\n", "ListenPort =\nListenPort = 6\n"),
        ("ListenPort = 5 # mine\nListenPort =\n", "ListenPort = 6 # mine\nListenPort =\n"),
        ("ListenPort = # none\n", "ListenPort = 6 # none\n"),
    ],
)
def test_a_line_without_a_value_is_as_none(lines: str, expected: str) -> None:
    head = f"[Interface]\nPrivateKey = {PRIVATE}\n"
    now = parse(head, "").device._replace(listen_port=6)
    assert edit(head + lines, parse(head + lines, ""), now, []) == head + expected


@pytest.mark.parametrize("header", ["\ufeff[Peer]", "[\tPeer ]", "[ peer\t]"])
def test_headers_as_the_parser_takes_them(header: str) -> None:
    """A section that the editor does not see would be changed, or go, with the one before it."""
    text = TEXT.replace("[Peer]", header)
    plain = text.replace("\ufeff", "")
    now = device()
    assert edited(now, text=text) == plain
    less = edited(now._replace(peers=now.peers[1:]), text=text)
    assert [peer.public_key for peer in parse(less, "").device.peers] == [now.peers[1].public_key]
    assert "# The office." in less and "laptop" not in less
    without = text.replace("ListenPort = 51820\n", "")
    more = edited(now._replace(listen_port=7), text=without)
    assert parse(more, "").device.listen_port == 7
    assert files.strip(plain) == files.strip(TEXT).replace("[Peer]", header.lstrip("\ufeff"))
    assert scan(text) == scan(TEXT) != {}


def test_names_of_joined_files() -> None:
    text = f"[Peer]\nName = a\nPublicKey = {PEER_A}\n\ufeff[Peer]\nPublicKey = {PEER_B}\n"
    assert scan(text) == {public_key(PEER_A): "a"}


def test_what_would_have_a_mistake_is_not_written() -> None:
    now = device()._replace(fwmark=1 << 40)
    with pytest.raises(L2wgError) as raised:
        edit(TEXT, parse(TEXT, "wg1.conf"), now, ADDRESSES, 1300)
    assert str(raised.value) == (
        "wg1.conf: the file would have a mistake: FwMark is neither off nor 0-0xffffffff: "
        "'0x10000000000' (it stays as it is; change it by hand)"
    )
