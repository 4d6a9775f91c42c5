# SPDX-License-Identifier: GPL-2.0
"""mesh join: ask to be admitted, or for a change."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..conf.files import create_private
from ..conf.keyfiles import located
from ..conf.parse import parse
from ..errors import L2wgError
from ..keys import generate_private_key
from ..model import SecretKey
from ..output import print_json
from . import layout, signing
from .access import opener
from .host import NEXT, Host, host_key, load, request_of, through_the_link
from .signing import Invalid
from .store import Store


def cmd_join(args: argparse.Namespace) -> int:
    """Publish what this host asks for, and print its fingerprint."""
    host = load(args.mesh, args.file)
    if args.name is not None and args.name != host.name:
        what = f"[Mesh] has Node = {host.name}, and --as says {args.name}"
        raise L2wgError(what, "make them the same", host.where)
    way = through_the_link(host)
    if way is not None:
        raise L2wgError(way.what, way.hint, way.where)
    signer = host_key(host, create=True)
    key = _new_key(host) if args.renew else host.next_key() or host.config.device.private_key
    assert key is not None
    record = request_of(host, key, signer).canonical()
    store = opener(host.options, host.where)()
    place = layout.request(host.mesh, host.name)
    there = _not_taken(store, place, host, signer)
    if store.put_if(place, signing.seal(record, signer, with_key=True), there) is None:
        raise L2wgError(f"another host has just asked to be {host.name}", "ask again", host.where)
    _say(args, host, signing.fingerprint(record))
    return 0


def _new_key(host: Host) -> SecretKey:
    """A new private key, in a file beside the present one until the mesh knows it."""
    path = host.next_key_file
    if path is None:
        named = f"{host.mesh}.key"
        hint = f"write it into {located(named, host.where)}, and PrivateKeyFile = {named}"
        raise L2wgError(
            "holds the PrivateKey itself, which --renew cannot change", hint, host.where
        )
    others = _who_share(host, path)
    if others:
        what = f"{', '.join(others)} would lose this key: PrivateKeyFile is the same"
        raise L2wgError(what, "give each file a key of its own", host.where)
    hint = f"l2wgctl mesh join {host.mesh} asks again; or remove that file"
    if os.path.lexists(path):
        raise L2wgError("a new key waits already to be signed", hint, path)
    key = generate_private_key()
    create_private(path, f"{key.reveal()}\n", hint)
    return key


def _who_share(host: Host, next_file: str) -> list[str]:
    """Files beside the host's own that name the key file, which the agent will overwrite."""
    ours = os.path.realpath(next_file.removesuffix(NEXT))
    here = Path(host.where)
    found = []
    for path in sorted(here.parent.glob("*.conf")):
        if path.name == here.name or not path.is_file():  # a FIFO would keep us waiting
            continue
        try:
            named = parse(path.read_text(errors="replace"), str(path)).link.private_key_file
        except (L2wgError, OSError):
            continue  # a neighbour's mistake is the neighbour's
        if named is not None and os.path.realpath(located(named, str(path))) == ours:
            found.append(path.name)
    return found


def _not_taken(store: Store, place: str, host: Host, signer: SecretKey) -> int:
    """See that nobody else asks for the name; the revision of what is there, 0: nothing.

    :raises L2wgError: somebody does.
    """
    there = store.get(place)
    if there is None:
        return 0
    try:
        other = signing.unseal_own(there.value).signer
    except Invalid:
        return there.revision  # junk has no owner
    if other != signing.public_key(signer):
        what = f"another host has asked to be {host.name}"
        hint = f"write another Node; if it was this one with an older key: etcdctl del {place}"
        raise L2wgError(what, hint, host.where)
    return there.revision


def _say(args: argparse.Namespace, host: Host, fingerprint: str) -> None:
    if args.json:
        print_json({"mesh": host.mesh, "name": host.name, "fingerprint": fingerprint})
        return
    print(f"{host.name} asks to join {host.mesh}. The fingerprint of what it asks for:")
    print(f"\n    {fingerprint}\n")
    print(f"An admin compares it: l2wgctl mesh sign --key admin.key {host.mesh} {host.name}")
    print(f"Then, or before: systemctl enable --now l2wg-mesh@{host.mesh}")
