# SPDX-License-Identifier: GPL-2.0
"""Files as people and generators write them: empty values, slips, odd bytes, and the advice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.conf import files, values
from l2wgctl.conf import parse as config
from l2wgctl.conf.keys import INTERFACE, LIST, PEER, ConfigKey, nearest
from l2wgctl.errors import ConfigError, L2wgError, ValueProblem
from l2wgctl.model import Device, LinkOptions, Peer
from tests.unit.ctl.conftest import PEER_A, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]
HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\n"
TAIL = f"[Peer]\nPublicKey = {PEER_A}\n"


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "wg1.conf")
    return [str(problem).removeprefix("wg1.conf:") for problem in caught.value.problems]


# -- empty values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", " ", " # none", "\t", "\r"])
@pytest.mark.parametrize("key", [*INTERFACE, *PEER], ids=lambda key: key.name)
def test_an_empty_value_is_none_or_a_mistake(key: ConfigKey, empty: str) -> None:
    """A key that may be empty says nothing then; the others name themselves."""
    line = f"{key.name} ={empty}\n"
    head, tail = "[Interface]\n", TAIL
    if key in INTERFACE:
        head += line
    else:
        tail = "[Peer]\n" + line + ("" if key.name == "PublicKey" else f"PublicKey = {PEER_A}\n")
    if not key.empty:
        assert f"{key.name} has no value" in errors(head + tail)[0]
        return
    found = config.parse(head + tail, "")
    assert found.link == LinkOptions()
    (peer,) = found.device.peers
    assert found.device == Device("", peers=(peer,))
    assert peer == Peer(peer.public_key, replace_allowed_ips=True)


def test_an_empty_value_does_not_count_as_given() -> None:
    assert config.parse("[Interface]\nMTU =\nMTU = 1400\n", "").link.mtu == 1400


@pytest.mark.parametrize("surplus", ["{},", ",{}", "{}, ,", ", {} ,,"])
@pytest.mark.parametrize("key", [k for k in (*INTERFACE, *PEER) if k.how is LIST], ids=str)
def test_surplus_commas(key: ConfigKey, surplus: str) -> None:
    value = {
        "vlans": "5",
        "dns": "192.0.2.53",
        "bridge_ports": "eth1",
        "bridge_vlans": "20-29",
        "allowed_vlans": "20-29",
        "allowed_macs": "02:00:00:00:00:01",
        "host_macs": "02:00:00:00:00:01",
        "guards": "ra",
    }.get(key.field, "192.0.2.1/32")
    bridge = "Bridge = br0\n" if key.name.startswith("Bridge") else ""
    bridge = "Switch = yes\n" if key.switch else bridge

    def parsed(text: str) -> object:
        line = f"{key.name} = {text}\n"
        if key in INTERFACE:
            found = config.parse("[Interface]\n" + bridge + line, "")
        else:
            found = config.parse(f"[Interface]\n{bridge}{TAIL}{line}", "")
        return found.device, found.link, found.switch

    assert parsed(surplus.format(value)) == parsed(value)
    assert parsed(surplus.format(value)) != parsed("")


#: As wg-easy, WGDashboard and other generators write them.
GENERATED = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 10.8.0.1/24,
ListenPort = 51820
MTU =
DNS =
Table =
FwMark =
PreUp =
PostUp =  iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -j MASQUERADE;
PreDown =
PostDown =  ;
SaveConfig = true

# Client: phone (0d5b)
[Peer]
PublicKey = {PEER_A}
PresharedKey =
AllowedIPs = 10.8.0.2/32,
Endpoint =
PersistentKeepalive =
"""


def test_a_generated_file_comes_up(
    links: FakeLinks, run: Run, conf: Conf, tmp_path: Path, kernel: FakeKernel
) -> None:
    path = conf(GENERATED.replace("iptables", "true").replace("  ;", ""))
    assert run("check", path).status == 0
    assert run("up", path).status == 0
    (peer,) = kernel.devices["wg1"].peers.values()
    assert len(peer.ips) == 1


def test_wg_takes_what_strip_leaves(
    run: Run, wg: Run, conf: Conf, kernel: FakeKernel, tmp_path: Path
) -> None:
    """wg itself refuses the file; what it would not take goes, and nothing else."""
    stripped = run("strip", conf(GENERATED))
    assert (stripped.status, stripped.err) == (0, "")
    kernel.add("wg1", kind="wireguard")
    assert wg("setconf", "wg1", conf(stripped.out, "stripped")) == (0, "", "")
    assert stripped.out == (
        f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 51820\n\n# Client: phone (0d5b)\n"
        f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 10.8.0.2/32\n"
    )


# -- advice ----------------------------------------------------------------------------------------

ENDPOINTS = {
    "udp://192.0.2.1:51820": (
        "'udp://192.0.2.1:51820' is a URL (write 192.0.2.1:51820)",
        "192.0.2.1:51820",
    ),
    "https://vpn.example.org": (
        "'https://vpn.example.org' is a URL (write vpn.example.org:51820)",
        "vpn.example.org:51820",
    ),
    "udp://[2001:db8::1]:5/": (
        "'udp://[2001:db8::1]:5/' is a URL (write [2001:db8::1]:5)",
        "[2001:db8::1]:5",
    ),
    "a.b:1, c.d:2": (
        "'a.b:1, c.d:2' is more than one endpoint (write one HOST:PORT for a peer)",
        None,
    ),
    "a.b:1 c.d:2": (
        "'a.b:1 c.d:2' is more than one endpoint (write one HOST:PORT for a peer)",
        None,
    ),
    "192.0.2.1:51820:51821": (
        "'192.0.2.1:51820:51821' has two colons and is no IPv6 address (write 192.0.2.1:51820)",
        "192.0.2.1:51820",
    ),
    "a:b:c": ("'a:b:c' has two colons and is no IPv6 address (write HOST:PORT)", None),
    "fe80::1%eth0:51820": (
        "'fe80::1%eth0:51820' is an IPv6 address without brackets (write [fe80::1%eth0]:51820)",
        "[fe80::1%eth0]:51820",
    ),
    "2001:db8::1": (
        "'2001:db8::1' is an IPv6 address without brackets (write [2001:db8::1]:51820)",
        "[2001:db8::1]:51820",
    ),
    "[2001:db8::g]:1": ("'[2001:db8::g]:1' holds no IPv6 address", None),
}


@pytest.mark.parametrize("text", ENDPOINTS)
def test_the_advice_for_an_endpoint_is_an_endpoint(text: str) -> None:
    line, advice = ENDPOINTS[text]
    with pytest.raises(ValueProblem) as caught:
        values.endpoint(text)
    problem = caught.value
    assert problem.what + (f" ({problem.hint})" if problem.hint else "") == line
    if advice:
        assert str(values.endpoint(advice)) == advice


SLIPS = {
    'Endpoint = "a.b:51820"': "leave out the quotes",
    "Endpoint = 'a.b:51820'": "leave out the quotes",
    f'PublicKey = "{PEER_A}"': "leave out the quotes",
    "AllowedIPs = '10.0.0.0/8'": "leave out the quotes",
    "PersistentKeepalive = 25 ; seconds": "a comment begins with #",
    "PersistentKeepalive = 25 // seconds": "a comment begins with #",
    "AllowedIPs = 10.0.0.0/8; LAN": "a comment begins with #",
}


@pytest.mark.parametrize("line", SLIPS)
def test_quotes_and_foreign_comments(line: str) -> None:
    text = f"[Peer]\n{line}\n" + ("" if "PublicKey" in line else f"PublicKey = {PEER_A}\n")
    (problem,) = errors(text)
    assert problem.endswith(f" ({SLIPS[line]})")


GUESSES = {
    "Adress": "Address",
    "PrivatKey": "PrivateKey",
    "PubKey": None,
    "AllowedIP": None,
    "STP": "BridgeSTP",
    "UP": None,
    "Rap": None,
    "Down": None,
    "Port": "ListenPort",
    "MAC": "MACAddress",
    "VLAN": "VLANs",
    "SaveConf": "SaveConfig",
    "Xyzzy": None,
    "Tabel": "Table",
}


@pytest.mark.parametrize("word", GUESSES)
def test_a_guess_is_near_or_there_is_none(word: str) -> None:
    known = [key.name for key in INTERFACE]
    assert nearest(word, known) == GUESSES[word]


def test_guesses_for_a_peer() -> None:
    known = [key.name for key in PEER]
    words = ("Keepalive", "PubKey", "AllowedIP", "PSK", "Endpoints", "Key")
    assert [nearest(word, known) for word in words] == [
        *("PersistentKeepalive", "PublicKey", "AllowedIPs", None, "Endpoint", None)
    ]


@pytest.mark.parametrize("text", ["1.1.1.300", "1.1", "::g", "a b", "a/b", "fe80::1%"])
def test_name_servers_that_are_none(text: str) -> None:
    (problem,) = errors(f"[Interface]\nDNS = {text}\n")
    assert problem.startswith("2:7: DNS is n")


# -- bytes -----------------------------------------------------------------------------------------


def test_byte_order_marks(run: Run, conf: Conf, tmp_path: Path) -> None:
    path = conf("\ufeff" + HEAD + "\ufeff" + TAIL)
    assert config.parse(path.read_text(), "").device.peers
    assert run("check", path).status == 0
    assert run("strip", path).out == HEAD + TAIL
    path.write_bytes((HEAD + TAIL).encode("utf-16"))
    assert run("check", path) == (
        1,
        "",
        f"l2wgctl: {path}: is UTF-16 text (save it as UTF-8)\n",
    )


#: A file whose comments and commands are not in the locale's encoding, nor in any one.
ODD = (
    HEAD.encode()
    + "# Büro, 日本\nPostUp = echo 'Büro 日本' >> OUT\n".encode()
    + b"PostUp = printf '\xff\xfe' >> OUT\n"
    + TAIL.encode()
    + b"# \xff\xc3\n"
)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"])
@pytest.mark.parametrize("coerce", ["0", "1"])
def test_bytes_pass_unchanged(conf: Conf, tmp_path: Path, locale: str, coerce: str) -> None:
    path = conf("")
    path.write_bytes(ODD)
    environment = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": coerce}

    def run(code: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
            cwd=ROOT,
        )

    done = run("import sys; sys.argv[1:1] = ['strip']; from l2wgctl.cli import run; run()")
    assert (done.returncode, done.stderr) == (0, b"")
    kept = [line for line in ODD.split(b"\n") if not line.startswith(b"PostUp")]
    assert done.stdout == b"\n".join(kept)
    out = tmp_path / "out"
    path.write_bytes(ODD.replace(b"OUT", str(out).encode()))
    done = run(
        "import sys; from l2wgctl.conf import files; from l2wgctl.updown.steps import hook\n"
        "from l2wgctl.updown.steps import run_steps\n"
        "from l2wgctl import cli\n"
        "def main(_=None):\n"
        "    lines = files.load(sys.argv[1]).link.post_up\n"
        "    run_steps(hook(line, 'wg1') for line in lines)\n"
        "    return 0\n"
        "cli.main = main; cli.run()"
    )
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == "Büro 日本\n".encode() + b"\xff\xfe"
    assert "[#] echo 'Büro 日本'".encode() in done.stderr


def test_a_nul_byte_is_a_mistake() -> None:
    assert errors("[Interface]\nPostUp = echo a\0b\n") == ["2:10: PostUp has a NUL byte in it"]


def test_line_ends_of_windows_pass(conf: Conf, run: Run) -> None:
    path = conf("")
    path.write_bytes((HEAD + "PostUp = echo a\n" + TAIL).replace("\n", "\r\n").encode())
    assert files.load(str(path)).link.post_up == ("echo a",)
    assert files.strip(files.read_text(str(path))[0]) == (HEAD + TAIL).replace("\n", "\r\n")
    with pytest.raises(L2wgError):
        files.load(str(path.parent / "none"))
