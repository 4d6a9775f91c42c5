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
from typing import Any

from . import refusals
from .gateway import MOST, ODD, ODD_WORDS, TIMEOUT, Failure, Gateway, Login, of_etcd
from .store import Changed, Ended, Entry, Event, Listing, Member, Progress, Refused, Unreachable

#: After so many seconds without an event, a watch goes on at the next member.
SILENT = 60.0
#: Keys in one answer; a record is some 1,500 bytes, so this stays far below etcd's 2 MiB.
PAGE = 500
#: Bytes of memory that a key takes besides its text and its value; tiny ones are many.
ENTRY = 512
#: A list is begun anew so often when the store is compacted under it.
LISTS = 3


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


class Etcd(Gateway):
    """A store (`l2wgctl.mesh.store.Store`).

    One object is for one thread, except `cancel`.

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
        super().__init__(urls, login, timeout)
        self._silent = silent
        self._watching: http.client.HTTPConnection | None = None
        self._cancelled = threading.Event()

    # -- keys --------------------------------------------------------------------------------------

    @of_etcd
    def get(self, key: str) -> Entry | None:
        """The key as the majority has it, or None."""
        kvs = self._ask("kv/range", {"key": _b64(key)}).get("kvs", [])
        return _entry(kvs[0]) if kvs else None

    @of_etcd
    def list(self, prefix: str) -> Listing:
        """Everything under a prefix, in pages, and all at one revision."""
        for last in (*[False] * LISTS, True):
            try:
                return self._list(prefix)
            except Refused as error:
                # Compacted between two pages: once more, from the first; but not for ever.
                if last or "compacted" not in str(error):
                    raise
        raise AssertionError

    def _list(self, prefix: str) -> Listing:
        entries: list[Entry] = []
        last, size = b"", 0
        body: dict[str, Any] = {"key": _b64(prefix), "range_end": _b64(_range_end(prefix))}
        body["limit"] = str(PAGE)
        revision = 0
        while True:
            answer = self._ask("kv/range", body)
            revision = revision or _revision(answer)
            kvs = answer.get("kvs", [])
            entries += map(_entry, kvs)
            if not answer.get("more"):
                return Listing(tuple(entries), revision)
            # The bytes of the key: its text may be another one, before or behind it.
            before, last = last, base64.b64decode(kvs[-1]["key"])
            size += sum(ENTRY + len(e.key) + len(e.value) for e in entries[-len(kvs) :])
            if last <= before:
                raise ValueError
            if size > MOST:
                what = f"has more than {MOST >> 20} MiB below {prefix}"
                hint = f"somebody fills it: etcdctl get --prefix --keys-only {prefix}"
                raise Refused(what, hint, self.url)
            body["key"] = _b64(last + b"\0")
            body["revision"] = str(revision)

    @of_etcd
    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Set a key; the revision of this change."""
        return _revision(self._ask("kv/put", _put(key, value, lease)))

    @of_etcd
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

    @of_etcd
    def delete(self, key: str) -> bool:
        """Delete a key; whether it was there."""
        return _number(self._ask("kv/deleterange", {"key": _b64(key)}), "deleted") > 0

    # -- leases ------------------------------------------------------------------------------------

    @of_etcd
    def grant(self, ttl: int) -> int:
        """A lease of `ttl` seconds; its number."""
        return _number(self._ask("lease/grant", {"TTL": str(ttl)}), "ID")

    @of_etcd
    def keepalive(self, lease: int) -> int:
        """Begin a lease's time anew; the seconds that it has now, 0: it is over."""
        return _number(self._ask("lease/keepalive", {"ID": str(lease)}).get("result", {}), "TTL")

    @of_etcd
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
            for event in self._sound(prefix, end or _range_end(prefix), revision):
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

    def _sound(self, first: str, end: str, revision: int) -> Iterator[Event]:
        """A stream that ends where it says what etcd does not."""
        try:
            yield from self._stream(first, end, revision)
        except ODD:
            yield Ended("broken", f"{self.url} {ODD_WORDS[0]}")

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
            yield from self._events(response, first, revision)
        except (Unreachable, Refused) as error:
            yield Ended("broken", str(error))
        finally:
            self._stop()

    def _begin(self, create: dict[str, Any]) -> http.client.HTTPResponse:
        failures: list[tuple[str, Failure]] = []
        for again in (*[False] * len(self._urls), True):
            url = self.url
            try:
                if self._login.user and self._token is None:
                    self._authenticate(url)
                self._watching = self._open(url, self._timeout)
                if self._cancelled.is_set():  # before there was something to cancel
                    raise Failure("is not asked any more", None)
                response = self._send(self._watching, "watch", {"create_request": create})
                if response.status == 200:
                    self._watching.sock.settimeout(self._jittered())
                    return response
                self._understood(response.status, response.read(65536))
            except (http.client.HTTPException, OSError) as error:
                failure = Failure(*refusals.of_connection(error))
                failures.append((url, failure))
            except Failure as failure:
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

    def _events(
        self, response: http.client.HTTPResponse, first: str, revision: int
    ) -> Iterator[Event]:
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
                text = refusals.plain(result.get("cancel_reason", "by the store"))
                if refusals.is_stale_token(0, text):
                    self._token = None
                yield Ended("cancelled", text)
                return
            if result.get("created"):
                if now < revision - 1:
                    now = self._committed(first)
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

    def _committed(self, key: str) -> int:
        """The revision of the store, where that of a member may be behind the others'.

        A member tells a watch its own revision at once, but before it answers this it catches up
        (a linearizable read).

        :param key: one that the login may read; it need not exist.
        :raises Unreachable: nobody answers.
        :raises Refused: the store says no.
        """
        return _revision(self._ask("kv/range", {"key": _b64(key), "count_only": True}))

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
                except (ValueError, RecursionError):
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

    @of_etcd
    def members(self) -> tuple[Member, ...]:
        """The members that the store knows of; the state of those that the file names."""
        known = self._ask("cluster/member/list", {}).get("members", [])
        alarms: dict[str, list[str]] = {}
        for alarm in self._ask("maintenance/alarm", {"action": "GET"}).get("alarms", []):
            alarms.setdefault(alarm.get("memberID", "0"), []).append(alarm.get("alarm", "NONE"))
        told: dict[str, Member] = {}
        silent: dict[str, str] = {}
        for url in self._urls:
            try:
                number, state = _state(url, self._probe(url))
                told[number] = state
            except Failure as failure:
                silent[url] = failure.what
            except ODD:  # by itself: what the others say is not lost
                silent[url] = ODD_WORDS[0]
        found = []
        for member in known:
            number = member.get("ID", "0")
            urls = [refusals.plain(url) for url in member.get("clientURLs", [])]
            state = told.get(number) or Member(
                "",
                ", ".join(urls),
                trouble=next((silent.pop(u) for u in urls if u in silent), "is not in Engine"),
            )
            name = refusals.plain(member.get("name", ""))
            rung = tuple(map(refusals.plain, alarms.get(number, ())))
            found.append(state._replace(name=name, alarms=rung))
        # A name in Engine may be another one than that which the member says of itself.
        found += [Member("", url, trouble=why) for url, why in silent.items()]
        return tuple(found)

    def close(self) -> None:
        """Close the connections."""
        self._drop()
        self._stop()


def _state(url: str, answer: dict[str, Any]) -> tuple[str, Member]:
    """A member's number, and what it says of itself."""
    number = answer.get("header", {}).get("member_id", "0")
    version = refusals.plain(answer.get("version", ""))
    sizes = _number(answer, "dbSize"), _number(answer, "dbSizeInUse")
    return number, Member("", url, version, *sizes, answer.get("leader") == number)


def _put(key: str, value: bytes, lease: int) -> dict[str, Any]:
    body = {"key": _b64(key), "value": _b64(value)}
    if lease:
        body["lease"] = str(lease)
    return body
