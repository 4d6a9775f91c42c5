# SPDX-License-Identifier: GPL-2.0
"""What goes wrong between us and the store, in words, each with its mend."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from typing import Any

from ..errors import L2wgError, from_os_error

Words = tuple[str, "str | None"]


def context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """The TLS context of the files that [Mesh] names.

    :raises L2wgError: one cannot be read, or is not what it should be.
    """
    for path in filter(None, (ca, certificate, key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise from_os_error(error, path) from None
    try:
        made = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, ValueError):
        raise L2wgError("is no certificate", "CA = names a PEM file", str(ca)) from None
    if certificate:
        try:
            # No password is asked for at a terminal: the agent has none.
            made.load_cert_chain(certificate, key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            if "KEY_VALUES_MISMATCH" in str(error):
                what, hint = f"is not the certificate of {key}", "name the two that belong together"
            else:
                what = f"is no certificate, or {key or 'it'} has no private key"
                hint = "both are PEM files, and the key has no password"
            raise L2wgError(what, hint, certificate) from None
    return made


_CLOCK = "check both clocks with 'date'; if they are right, renew the certificate"

#: A part of OpenSSL's message: what it means.
_TLS: tuple[tuple[str, str, str | None], ...] = (
    ("has expired", "its certificate has expired", _CLOCK),
    ("not yet valid", "its certificate is not valid yet", _CLOCK),
    (
        "self-signed certificate",
        "its certificate is signed by nobody that we trust",
        "write the CA's file: CA = /etc/l2wg/mesh/ca.pem",
    ),
    (
        "self signed certificate",
        "its certificate is signed by nobody that we trust",
        "write the CA's file: CA = /etc/l2wg/mesh/ca.pem",
    ),
    (
        "unable to get local issuer",
        "its certificate is signed by nobody that we trust",
        "write the CA's file: CA = /etc/l2wg/mesh/ca.pem",
    ),
    (
        "mismatch",
        "its certificate is for another name",
        "write that name in Engine, or give the member a certificate with this one",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "speaks no TLS",
        "write http:// only for a store on this host; else give etcd --cert-file and --key-file",
    ),
    (
        "CERTIFICATE_REQUIRED",
        "wants a client's certificate",
        "write Certificate and Key",
    ),
    ("BAD_CERTIFICATE", "refuses our certificate", "its --trusted-ca-file must have signed it"),
    ("UNKNOWN_CA", "refuses our certificate", "its --trusted-ca-file must have signed it"),
)


_CLOSES: Words = (
    "closes the connection",
    "is this etcd's port for clients (2379), and has Engine its https:// or http://?",
)


def of_connection(error: Exception) -> Words:
    """Words for a connection that is not made, or breaks."""
    if isinstance(error, ssl.SSLError):
        for part, what, hint in _TLS:
            if part in str(error):
                return what, hint
        if isinstance(error, ssl.SSLEOFError) or error.reason is None or "EOF" in error.reason:
            return (
                "ends TLS at once",
                "does it speak TLS, and has its --trusted-ca-file signed our certificate?",
            )
        reason = re.sub(r"[_ ]+", " ", str(error.reason or "failed")).lower()
        return f"TLS: {reason}", "'openssl s_client -connect HOST:PORT' says more"
    if isinstance(error, socket.gaierror):
        return "the name is not known", "check Engine, and the name server"
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "does not answer in time", "is the member up, and its port open in the firewall?"
    if isinstance(error, OSError) and error.errno:
        if error.errno == errno.ECONNREFUSED:
            return "nobody listens there", "is etcd running? --listen-client-urls says where"
        if error.errno in (errno.ECONNRESET, errno.EPIPE):
            return _CLOSES
        hint = "check the route to it" if error.errno in (101, 113) else None
        return os.strerror(error.errno).lower(), hint
    if type(error).__name__ in ("RemoteDisconnected", "BadStatusLine"):
        return _CLOSES
    return "breaks the connection", None


#: Go's "404 page not found", not the code 5 of gRPC.
NO_GATEWAY: Words = ("has no JSON gateway", "start etcd with --enable-grpc-gateway, its default")

#: A part of the answer: what it means.
_ANSWERS: tuple[tuple[str, str, str | None], ...] = (
    (
        "HTTP request to an HTTPS server",
        "wants TLS",
        "write https:// in Engine, and CA",
    ),
    (
        "CommonName of client",
        "does not take a certificate with a CommonName at its gateway while roles are on",
        "make one without a CommonName, and write User and PasswordFile",
    ),
    ("user name is empty", "wants a user", "write User and PasswordFile"),
    ("user name not found", "does not know the user", "etcdctl user add NAME"),
    ("invalid user ID or password", "refuses the password", "check User and PasswordFile"),
    ("permission denied", "does not let this user do that", "etcdctl role grant-permission"),
    (
        "database space exceeded",
        "is full",
        "etcdctl compact, defrag and 'alarm disarm'; see docs/mesh.md, \"etcd\"",
    ),
    ("too many requests", "is overloaded", "it will be tried again"),
    ("no leader", "has no leader", "are most of its members up?"),
    ("request timed out", "gets no answer from the other members", "are most of them up?"),
    ("leader changed", "is choosing a leader", "it will be tried again"),
    *(
        (
            part,
            "cannot dial itself",
            "if it stays so: its certificate must have the extended key usage clientAuth, too",
        )
        for part in (
            "bad certificate",
            "authentication handshake failed",
            "transport is closing",
            "connection closed",
            "use of closed network connection",
            "connection error",
            "broken pipe",
            "connection reset",
        )
    ),
)


def of_answer(status: int, text: str) -> Words:
    """Words for an answer that is no success."""
    for part, what, hint in _ANSWERS:
        if part in text:
            return what, hint
    if status == 401:
        return "refuses us", "check User and PasswordFile"
    text = " ".join(text.split())[:200] or f"answers {status}"
    return text.removeprefix("etcdserver: "), None


def text_of(answer: Any, data: bytes) -> tuple[int, str]:
    """gRPC's code and the message of an error, at the top or in a stream; else the text."""
    if not isinstance(answer, dict):
        return 0, plain(data[:500].decode("utf-8", "replace"))
    error = answer.get("error")
    if isinstance(error, dict):
        return int(error.get("grpc_code", 0)), plain(error.get("message", ""))
    return int(answer.get("code", 0)), plain(answer.get("message") or error or "")


def plain(text: object) -> str:
    """A text of the store on one line, and without what a terminal obeys: it is a stranger's."""
    return "".join(char if char.isprintable() else " " for char in str(text)[:500])


def is_stale_token(code: int, text: str) -> bool:
    """Whether a new token helps."""
    return code == 16 or "invalid auth token" in text or "auth store is old" in text
