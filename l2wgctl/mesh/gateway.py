# SPDX-License-Identifier: GPL-2.0
"""Requests at etcd's JSON gateway: at the members in turn, until one answers."""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections.abc import Sequence
from functools import wraps
from typing import Any, Callable, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from . import refusals
from .store import Refused, Unreachable

#: Seconds for one request at one member.
TIMEOUT = 5.0
#: Nothing that the mesh stores comes near this: a store must not fill the agent's memory.
MOST = 64 << 20

# google.golang.org/grpc/codes: cancelled, deadline exceeded, unavailable
_TRY_ELSEWHERE = frozenset({1, 4, 14})


Method = TypeVar("Method", bound=Callable[..., Any])
#: What Python raises of an answer that has another shape than etcd's. RecursionError: of "[[[[...".
ODD = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
#: It may be a proxy, or somebody who wants to end the agent.
ODD_WORDS = "answers what etcd does not", "is that etcd 3.4 or later, and nothing between?"


def of_etcd(method: Method) -> Method:
    """A method of a Gateway that reads an answer: one of another shape than etcd's is Refused."""

    @wraps(method)
    def read(self: Gateway, *args: Any, **named: Any) -> Any:
        try:
            return method(self, *args, **named)
        except ODD:
            raise Refused(*ODD_WORDS, self.url) from None

    return cast(Method, read)


class Login(NamedTuple):
    """How to come in: certificates for TLS, or a user. `repr` hides the password."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


class Failure(Exception):
    """One member does not do it: in words, with the mend."""

    def __init__(self, what: str, hint: str | None, code: int = 0, elsewhere: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code
        self.elsewhere = elsewhere


class Gateway:
    """The members of a store, one of which is asked until it fails.

    :param urls: `https://host:port` of each member.
    :param timeout: seconds for one request at one member.
    :raises L2wgError: a certificate or key cannot be used.
    """

    def __init__(
        self, urls: Sequence[str], login: Login | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._login = login or Login()
        self._timeout = timeout
        # Not all hosts of a mesh begin at the same member.
        self._at = random.randrange(len(self._urls))
        self._token: str | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._context = None
        if any(url.startswith("https:") for url in self._urls):
            self._context = refusals.context(*self._login[:3])

    @property
    def url(self) -> str:
        """The member that is asked now."""
        return self._urls[self._at]

    # -- requests ----------------------------------------------------------------------------------

    def _open(self, url: str, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        assert parts.hostname
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port or 2379, timeout=timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(
                parts.hostname, parts.port or 2379, timeout=timeout
            )
        connection.connect()
        # A host that vanished sends no FIN; the kernel finds out within half a minute.
        for option, value in (
            (socket.TCP_KEEPIDLE, 15),
            (socket.TCP_KEEPINTVL, 5),
            (socket.TCP_KEEPCNT, 3),
        ):
            connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, path: str, body: dict[str, Any]
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        if path == "watch":
            # A member that has lost the others ends the stream, where it would be silent for ever
            # (etcd's clientv3.WithRequireLeader).
            headers["Grpc-Metadata-hasleader"] = "true"
        connection.request("POST", f"/v3/{path}", json.dumps(body), headers)
        return connection.getresponse()

    def _ask_member(self, url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request at one member, on the connection that is open if it still is.

        :raises Failure: it is not done.
        """
        for fresh in (False, True):
            if fresh or self._connection is None or self.url != url:
                self._drop()
            reused = self._connection is not None
            try:
                if self._connection is None:
                    self._connection = self._open(url, self._timeout)
                response = self._send(self._connection, path, body)
                data = response.read(MOST)
                break
            except (http.client.HTTPException, OSError) as error:
                self._drop()
                # The member may have closed an idle connection just now.
                if not (reused and isinstance(error, (http.client.HTTPException, ConnectionError))):
                    raise Failure(*refusals.of_connection(error)) from None
        if response.will_close:
            self._drop()
        return self._understood(response.status, data)

    def _understood(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if status == 200 and isinstance(answer, dict):
            return answer
        code, text = refusals.text_of(answer, data)
        if answer is None and status == 404:
            raise Failure(*refusals.NO_GATEWAY)
        what, hint = refusals.of_answer(status, text)
        raise Failure(what, hint, code, elsewhere=code in _TRY_ELSEWHERE)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request at the members in turn.

        :raises Unreachable: none answers.
        :raises Refused: one says no, and the others would, too.
        """
        failures: list[tuple[str, Failure]] = []
        for _ in self._urls:
            url = self.url
            try:
                return self._with_login(url, path, body)
            except Failure as failure:
                if not failure.elsewhere:
                    raise Refused(failure.what, failure.hint, url) from None
                failures.append((url, failure))
                self._drop()
                self._at = (self._at + 1) % len(self._urls)
        raise self._none_answers(failures)

    @staticmethod
    def _none_answers(failures: Sequence[tuple[str, Failure]]) -> Unreachable:
        if len(failures) == 1:
            url, failure = failures[0]
            return Unreachable(failure.what, failure.hint, url)
        each = "; ".join(f"{url}: {failure.what}" for url, failure in failures)
        return Unreachable(f"no member of the store answers: {each}", failures[0][1].hint)

    def _with_login(self, url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self._login.user and self._token is None:
            self._authenticate(url)
        try:
            return self._ask_member(url, path, body)
        except Failure as failure:
            # Tokens end after five minutes of rest, and with every change of users or roles.
            if self._token is None or not refusals.is_stale_token(failure.code, failure.what):
                raise
        self._token = None
        self._authenticate(url)
        return self._ask_member(url, path, body)

    def _authenticate(self, url: str) -> None:
        self._token = None
        body = {"name": self._login.user, "password": self._login.password or ""}
        try:
            token = self._ask_member(url, "auth/authenticate", body)["token"]
        except Failure as failure:
            if "authentication is not enabled" not in failure.what:
                raise
            # A store without users lets everybody in, this one too.
            token = ""
        if not (token.isascii() and token.isprintable()):  # no header can have it
            raise ValueError
        self._token = token

    def _probe(self, url: str) -> dict[str, Any]:
        """The state of one member.

        :raises Failure: it does not answer.
        """
        other = Gateway([url], None, self._timeout)
        other._context, other._login, other._token = self._context, self._login, self._token
        try:
            return other._with_login(url, "maintenance/status", {})
        finally:
            other._drop()
