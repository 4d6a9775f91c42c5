# SPDX-License-Identifier: GPL-2.0
"""Host names of endpoints to addresses, with the back-off of `wg`.

A name server may not answer yet (at boot). It is asked again after 1 s, then after 1.2 times as
long each time, but at most 20 s; WG_ENDPOINT_RESOLUTION_RETRIES says how often (15 by default,
`infinity` for ever). If a name does not exist, it is not asked for again.
"""

from __future__ import annotations

import os
import time

from . import signals
from .conf.values import number
from .errors import L2wgError, Problem, UsageError
from .model import Device, Endpoint
from .netlink import messages
from .output import say

DEFAULT_RETRIES = 15


def retries() -> int | None:
    """WG_ENDPOINT_RESOLUTION_RETRIES; None = without end.

    :raises UsageError: it is neither a number nor `infinity`.
    """
    text = os.environ.get("WG_ENDPOINT_RESOLUTION_RETRIES")
    if text is None:
        return DEFAULT_RETRIES
    if text == "infinity":
        return None
    found = number(text)
    if found is None:
        raise UsageError(
            f"WG_ENDPOINT_RESOLUTION_RETRIES is neither infinity nor a number: '{text}'"
        )
    return found


def addresses(endpoint: Endpoint) -> list[bytes]:
    """Bytes of the sockaddr of every address of an endpoint, the preferred one first.

    :raises L2wgError: the name does not resolve.
    :raises UsageError: see :func:`retries`.
    """
    try:
        return [messages.sockaddr(endpoint)]
    except OSError:
        pass
    return _patiently(endpoint)


def _patiently(endpoint: Endpoint) -> list[bytes]:
    """The same for a name."""
    import socket  # takes long to load, and most files have no names

    final = {socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    left = retries()
    delay = 1.0
    while True:
        try:
            with signals.waiting():
                return [messages.sockaddr(found) for found in look_up(endpoint)]
        except socket.gaierror as error:
            if error.errno in final or left == 0:
                raise L2wgError(
                    f"endpoint '{endpoint}' does not resolve: {error.strerror}",
                    "check the name, or write the address",
                    code="RESOLVE",
                ) from None
            what = f"endpoint '{endpoint}': {error.strerror}. "
            say([Problem("", f"{what}Trying again in {delay:.2f} seconds...")])
        with signals.waiting():
            time.sleep(delay)
        delay = min(20.0, delay * 1.2)
        if left is not None:
            left -= 1


def look_up(endpoint: Endpoint) -> list[Endpoint]:
    """The endpoints that a name stands for, by address, asked for once.

    :raises socket.gaierror: it does not resolve.
    """
    import socket

    try:
        answers = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
        )
    except UnicodeError:  # a label that is too long as DNS has it (RFC 3490)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    found = []
    for family, _, _, _, address in answers:
        host = str(address[0])
        if family == socket.AF_INET6 and address[3]:  # type: ignore[misc]
            host = f"{host.partition('%')[0]}%{address[3]}"  # type: ignore[misc]
        found.append(Endpoint(host, endpoint.port))
    return found


def sockaddr(endpoint: Endpoint) -> bytes:
    """Bytes of the sockaddr of an endpoint; names are resolved.

    :raises L2wgError, UsageError: see :func:`addresses`.
    """
    return addresses(endpoint)[0]


def ahead(device: Device) -> messages.Resolver:
    """`sockaddr` for the endpoints of a device's peers, with every name looked up by now: for a
    change of which nothing may be done when one does not resolve, or while it is waited for.

    :raises L2wgError, UsageError: see :func:`addresses`.
    """
    known = {
        peer.endpoint: sockaddr(peer.endpoint) for peer in device.peers if peer.endpoint is not None
    }
    return known.__getitem__


def same(current: Endpoint, wanted: Endpoint) -> bool:
    """Whether a device's endpoint is one of the addresses of the wanted one.

    A name with several addresses gives them in another order each time it is asked for: any of
    them will do.

    :raises L2wgError, UsageError: see :func:`addresses`.
    """
    return messages.sockaddr(current) in addresses(wanted)
