# SPDX-License-Identifier: GPL-2.0
"""A client of etcd's JSON gateway (etcd 3.4 and later), on the standard library alone.

docs/mesh.md, "The client", says why not gRPC. What is special of the gateway: numbers of 64 bits
are strings, fields that are zero are absent, and a stream has an `error` in place of a `result`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from . import refusals
from .store import Changed, Ended, Entry, Event, Listing, Member, Progress, Refused, Unreachable

#: Seconds for one request at one member.
TIMEOUT = 5.0
#: After so many seconds without an event, a watch goes on at the next member.
SILENT = 60.0
#: Keys in one answer; a record is some 1,500 bytes, so this stays far below etcd's 2 MiB.
PAGE = 500
#: Nothing that the mesh stores comes near this: a store must not fill the agent's memory.
MOST = 64 << 20

# google.golang.org/grpc/codes
_UNAVAILABLE, _UNAUTHENTICATED = 14, 16
_TRY_ELSEWHERE = frozenset({_UNAVAILABLE, 4, 1})  # deadline exceeded, cancelled


class Login(NamedTuple):
    """How to come in: certificates for TLS, or a user. `repr` hides the password."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


class _Failure(Exception):
    """One member does not do it: in words, with the mend."""

    def __init__(self, what: str, hint: str | None, code: int = 0, elsewhere: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code
        self.elsewhere = elsewhere


def _b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def _range_end(prefix: str) -> str:
    """The first key behind all those with a prefix (etcd's clientv3.GetPrefixRangeEnd)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _number(answer: dict[str, Any], field: str) -> int:
    return int(answer.get(field, 0))


def _revision(answer: dict[str, Any]) -> int:
    return _number(answer.get("header", {}), "revision")


def _entry(kv: dict[str, Any]) -> Entry:
    return Entry(
        base64.b64decode(kv["key"]).decode("utf-8", "replace"),
        base64.b64decode(kv.get("value", "")),
        _number(kv, "version"),
        _number(kv, "mod_revision"),
        _number(kv, "lease"),
    )


class Etcd:
    """A store (`l2wgctl.mesh.store.Store`) whose members are asked in turn until one answers.

    One object is for one thread, except `cancel`.

    :param urls: `https://host:port` of each member.
    :param timeout: seconds for one request at one member.
    :param silent: seconds without an event after which a watch goes on at the next member.
    :raises L2wgError: a certificate or key cannot be used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        login: Login | None = None,
        timeout: float = TIMEOUT,
        silent: float = SILENT,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._login = login or Login()
        self._timeout = timeout
        self._silent = silent
        # Not all hosts of a mesh begin at the same member.
        self._at = random.randrange(len(self._urls))
        self._token: str | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._watching: http.client.HTTPConnection | None = None
        self._cancelled = threading.Event()
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

        :raises _Failure: it is not done.
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
                    raise _Failure(*refusals.of_connection(error)) from None
        if response.will_close:
            self._drop()
        return self._understood(response.status, data)

    def _understood(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if status == 200 and isinstance(answer, dict):
            return answer
        code, text = refusals.text_of(answer, data)
        if answer is None and status == 404:
            raise _Failure(*refusals.NO_GATEWAY)
        what, hint = refusals.of_answer(status, text)
        raise _Failure(what, hint, code, elsewhere=code in _TRY_ELSEWHERE)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request at the members in turn.

        :raises Unreachable: none answers.
        :raises Refused: one says no, and the others would, too.
        """
        failures: list[tuple[str, _Failure]] = []
        for _ in self._urls:
            url = self.url
            try:
                return self._with_login(url, path, body)
            except _Failure as failure:
                if not failure.elsewhere:
                    raise Refused(failure.what, failure.hint, url) from None
                failures.append((url, failure))
                self._drop()
                self._at = (self._at + 1) % len(self._urls)
        raise self._none_answers(failures)

    @staticmethod
    def _none_answers(failures: Sequence[tuple[str, _Failure]]) -> Unreachable:
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
        except _Failure as failure:
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
            self._token = self._ask_member(url, "auth/authenticate", body)["token"]
        except _Failure as failure:
            if "authentication is not enabled" not in failure.what:
                raise
            # A store without users lets everybody in, this one too.
            self._token = ""

    # -- keys --------------------------------------------------------------------------------------

    def get(self, key: str) -> Entry | None:
        """The key as the majority has it, or None."""
        kvs = self._ask("kv/range", {"key": _b64(key)}).get("kvs", [])
        return _entry(kvs[0]) if kvs else None

    def list(self, prefix: str) -> Listing:
        """Everything under a prefix, in pages, and all at one revision."""
        while True:
            try:
                return self._list(prefix)
            except Refused as error:
                # Compacted between two pages: once more, from the first.
                if "compacted" not in str(error):
                    raise

    def _list(self, prefix: str) -> Listing:
        entries: list[Entry] = []
        body: dict[str, Any] = {"key": _b64(prefix), "range_end": _b64(_range_end(prefix))}
        body["limit"] = str(PAGE)
        revision = 0
        while True:
            answer = self._ask("kv/range", body)
            revision = revision or _revision(answer)
            entries += map(_entry, answer.get("kvs", []))
            if not answer.get("more"):
                return Listing(tuple(entries), revision)
            body["key"] = _b64(entries[-1].key + "\0")
            body["revision"] = str(revision)

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Set a key; the revision of this change."""
        return _revision(self._ask("kv/put", _put(key, value, lease)))

    def put_if(self, key: str, value: bytes, revision: int, lease: int = 0) -> int | None:
        """Set a key if its last change is still `revision`, 0: if there is none."""
        body = {
            "compare": [{"target": "MOD", "key": _b64(key), "mod_revision": str(revision)}],
            "success": [{"request_put": _put(key, value, lease)}],
            "failure": [{"request_range": {"key": _b64(key)}}],
        }
        answer = self._ask("kv/txn", body)
        if answer.get("succeeded"):
            return _revision(answer)
        kvs = answer["responses"][0]["response_range"].get("kvs", [])
        found = _entry(kvs[0]) if kvs else None
        # The first try may have done it, and its answer been lost with the member.
        return found.revision if found and found.value == value else None

    def delete(self, key: str) -> bool:
        """Delete a key; whether it was there."""
        return _number(self._ask("kv/deleterange", {"key": _b64(key)}), "deleted") > 0

    # -- leases ------------------------------------------------------------------------------------

    def grant(self, ttl: int) -> int:
        """A lease of `ttl` seconds; its number."""
        return _number(self._ask("lease/grant", {"TTL": str(ttl)}), "ID")

    def keepalive(self, lease: int) -> int:
        """Begin a lease's time anew; the seconds that it has now, 0: it is over."""
        return _number(self._ask("lease/keepalive", {"ID": str(lease)}).get("result", {}), "TTL")

    def revoke(self, lease: int) -> None:
        """End a lease and the keys on it; one that is over is no error."""
        try:
            self._ask("lease/revoke", {"ID": str(lease)})
        except Refused as error:
            if "lease not found" not in str(error):
                raise

    # -- watch -------------------------------------------------------------------------------------

    def watch(self, prefix: str, revision: int, end: str | None = None) -> Iterator[Event]:
        """The changes under a prefix from a revision on; the last event is `Ended`."""
        self._cancelled.clear()
        logins = 0
        while True:
            for event in self._stream(prefix, end or _range_end(prefix), revision):
                if isinstance(event, Ended):
                    if event.why == "silent":
                        break
                    if self._login.user and self._token is None and not logins:
                        # etcd looks at the token of a watch only when it has begun.
                        logins += 1
                        self._at -= 1
                        break
                    yield event
                    return
                revision = max(revision, event.revision + 1)
                yield event
            # Nothing for a minute is no fault by itself. The next member tells whether this one
            # was dead: it goes on where this one has stopped.
            self._at = (self._at + 1) % len(self._urls)

    def _stream(self, first: str, end: str, revision: int) -> Iterator[Event]:
        """One watch at one member, until it ends."""
        create = {
            "key": _b64(first),
            "range_end": _b64(end),
            "start_revision": str(revision),
            "progress_notify": True,
        }
        try:
            response = self._begin(create)
        except (Unreachable, Refused) as error:
            yield Ended("broken", str(error))
            return
        try:
            yield from self._events(response, revision)
        finally:
            self._stop()

    def _begin(self, create: dict[str, Any]) -> http.client.HTTPResponse:
        failures: list[tuple[str, _Failure]] = []
        for again in (*[False] * len(self._urls), True):
            url = self.url
            try:
                if self._login.user and self._token is None:
                    self._authenticate(url)
                self._watching = self._open(url, self._timeout)
                response = self._send(self._watching, "watch", {"create_request": create})
                if response.status == 200:
                    self._watching.sock.settimeout(self._jittered())
                    return response
                self._understood(response.status, response.read(65536))
            except (http.client.HTTPException, OSError) as error:
                failure = _Failure(*refusals.of_connection(error))
                failures.append((url, failure))
            except _Failure as failure:
                if refusals.is_stale_token(failure.code, failure.what) and not again:
                    self._token = None
                    continue
                failures.append((url, failure))
            self._stop()
            if self._cancelled.is_set():
                break
            self._at = (self._at + 1) % len(self._urls)
        raise self._none_answers(failures[-len(self._urls) :])

    def _jittered(self) -> float:
        return self._silent * random.uniform(0.9, 1.1)

    def _events(self, response: http.client.HTTPResponse, revision: int) -> Iterator[Event]:
        for answer in self._messages(response):
            if isinstance(answer, Ended):
                yield answer
                return
            if "error" in answer:
                _, text = refusals.text_of(answer, b"")
                if refusals.is_stale_token(0, text):
                    self._token = None
                yield Ended("compacted" if "compacted" in text else "cancelled", text)
                return
            result = answer.get("result", {})
            now = _revision(result)
            if _number(result, "compact_revision"):
                oldest = _number(result, "compact_revision")
                text = f"the store has dropped what is older than {oldest}"
                yield Ended("compacted", text, oldest)
                return
            if result.get("canceled"):
                text = str(result.get("cancel_reason", "by the store"))
                if refusals.is_stale_token(0, text):
                    self._token = None
                yield Ended("cancelled", text)
                return
            if result.get("created"):
                if now < revision - 1:
                    yield Ended(
                        "cancelled", f"the store is at revision {now}, and was at {revision - 1}"
                    )
                    return
                # Changes between `revision` and now are still to come.
                yield Progress(revision - 1)
                continue
            events = result.get("events", [])
            for event in events:
                entry = _entry(event["kv"])
                gone = event.get("type") == "DELETE"
                yield Changed(entry.key, None if gone else entry.value, entry.revision)
            if not events and now:
                yield Progress(now)

    def _messages(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any] | Ended]:
        """The lines of a stream: a chunk may hold several messages, or half of one."""
        rest = b""
        while True:
            try:
                chunk = response.read1(65536)
            except socket.timeout:
                yield Ended("silent", f"{self.url} said nothing for {self._silent:.0f} s")
                return
            except (http.client.HTTPException, OSError, ValueError, AttributeError) as error:
                # The last two: http.client, when `cancel` closes the socket under it.
                yield Ended("broken", f"{self.url}: {refusals.of_connection(error)[0]}")
                return
            if not chunk:
                yield Ended("broken", f"{self.url} has closed the connection")
                return
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MOST:
                yield Ended("broken", f"{self.url} sends a message above {MOST >> 20} MiB")
                return
            for line in filter(None, lines):
                try:
                    answer = json.loads(line)
                except ValueError:
                    answer = None
                if not isinstance(answer, dict):
                    yield Ended("broken", f"{self.url} sends what is no JSON")
                    return
                yield answer

    def _stop(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None

    def cancel(self) -> None:
        """End the watch that runs in another thread."""
        self._cancelled.set()
        watching = self._watching
        if watching is not None and watching.sock is not None:
            with contextlib.suppress(OSError):
                watching.sock.shutdown(socket.SHUT_RDWR)

    # -- members -----------------------------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """The members that the store knows of; the state of those that the file names."""
        known = self._ask("cluster/member/list", {}).get("members", [])
        alarms: dict[str, list[str]] = {}
        for alarm in self._ask("maintenance/alarm", {"action": "GET"}).get("alarms", []):
            alarms.setdefault(alarm.get("memberID", "0"), []).append(alarm.get("alarm", "NONE"))
        found = []
        told: dict[str, tuple[str, dict[str, Any]]] = {}
        for url in self._urls:
            try:
                answer = self._probe(url)
            except _Failure as failure:
                found.append(Member("", url, trouble=failure.what))
                continue
            told[answer.get("header", {}).get("member_id", "0")] = (url, answer)
        for member in known:
            number = member.get("ID", "0")
            url, answer = told.get(number, (", ".join(member.get("clientURLs", [])), {}))
            found.append(
                Member(
                    member.get("name", ""),
                    url,
                    answer.get("version", ""),
                    _number(answer, "dbSize") if answer else -1,
                    _number(answer, "dbSizeInUse") if answer else -1,
                    bool(answer) and answer.get("leader") == number,
                    tuple(alarms.get(number, ())),
                    "" if answer else "not in Engine, or does not answer",
                )
            )
        return tuple(found)

    def _probe(self, url: str) -> dict[str, Any]:
        other = Etcd([url], None, self._timeout)
        other._context, other._login, other._token = self._context, self._login, self._token
        try:
            return other._with_login(url, "maintenance/status", {})
        finally:
            other.close()

    def close(self) -> None:
        """Close the connections."""
        self._drop()
        self._stop()


def _put(key: str, value: bytes, lease: int) -> dict[str, Any]:
    body = {"key": _b64(key), "value": _b64(value)}
    if lease:
        body["lease"] = str(lease)
    return body
