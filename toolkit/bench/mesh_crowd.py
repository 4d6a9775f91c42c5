# SPDX-License-Identifier: GPL-2.0
"""A crowd at a real etcd: clients that ask of it what so many agents do, and nothing else.

A thousand agents take ten minutes of processor time to verify a thousand records each. A mesh has a
machine for each of them; this one has a few processors for all, and for the store. So these clients
send an agent's requests and read the answers to their end without looking at them. What is measured
with them is the store. What an agent makes of the answers is measured with one agent (`mesh_one`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from l2wgctl.mesh import layout
from l2wgctl.mesh.etcd import PAGE, Etcd
from l2wgctl.mesh.feed import LEASE, POLL, RENEW
from l2wgctl.mesh.gateway import TIMEOUT
from l2wgctl.mesh.pace import Backoff, jittered

#: The end of an answer in chunks (RFC 9112 section 7.1); behind an error etcd puts trailers.
END = re.compile(rb"\r\n0\r\n(?:[^\r\n]+\r\n)*\r\n\Z")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
#: Bytes of a sign of life in its envelope.
SIGN = 560


def _b64(raw: str | bytes) -> str:
    return base64.b64encode(raw.encode() if isinstance(raw, str) else raw).decode()


def pages(store: Etcd, mesh: str, kind: str = "") -> list[dict[str, str]]:
    """The requests by which an agent lists a mesh, or one kind of keys: one a page."""
    prefix = layout.prefix(mesh, kind)
    listing = store.list(prefix)
    starts = [prefix, *(e.key + "\0" for e in listing.entries[PAGE - 1 : -1 : PAGE])]
    end = prefix[:-1] + "0"
    return [
        {
            "key": _b64(start),
            "range_end": _b64(end),
            "limit": str(PAGE),
            **({"revision": str(listing.revision)} if number else {}),
        }
        for number, start in enumerate(starts)
    ]


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """One of the crowd."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self._name = f"host-{number:04}"
        self._streams: Streams | None = None
        self._watching: Streams | None = None

    async def _connect(self) -> Streams:
        url = urlsplit(self._crowd.urls[self._number % len(self._crowd.urls)])
        return await asyncio.open_connection(url.hostname, url.port)

    def _request(self, path: str, body: object) -> bytes:
        text = json.dumps(body)
        head = f"POST /v3/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n"
        return f"{head}Content-Type: application/json\r\n\r\n{text}".encode()

    async def ask(self, path: str, body: object) -> bytes:
        """A request; the beginning of its answer."""
        if self._streams is None:
            self._streams = await self._connect()
        reader, writer = self._streams
        begin = time.monotonic()
        writer.write(self._request(path, body))
        head = first = await reader.readuntil(b"\r\n\r\n")
        self._crowd.waited.append(time.monotonic() - begin)
        length = LENGTH.search(head)
        if length:
            first += await reader.readexactly(int(length[1]))
        else:
            last = b""
            while not END.search(last):
                part = await reader.read(1 << 18)
                if not part:
                    raise ConnectionError("etcd ends an answer")
                first = first if len(first) > 4096 else first + part
                last = (last + part)[-512:]
        if b" 200 " not in head[:20]:
            raise ConnectionError(first.decode(errors="replace"))
        return first

    async def begin(self, lists: Sequence[dict[str, str]], revision: int) -> None:
        """What an agent does at its start, at the next member if one refuses."""
        backoff = Backoff()
        while True:
            try:
                return await self._begin(lists, revision)
            except (OSError, EOFError):
                self._refused()
                await asyncio.sleep(backoff.failed())

    def _refused(self) -> None:
        self._crowd.refused += 1
        self._number, self._streams = self._number + 1, None

    async def _begin(self, lists: Sequence[dict[str, str]], revision: int) -> None:
        """List, watch, put a sign of life on a lease."""
        for body in lists:
            await self.ask("kv/range", body)
        self._watching = reader, writer = await self._connect()
        create = {
            "key": _b64(layout.prefix(self._crowd.mesh, layout.LISTS)),
            "range_end": _b64(layout.prefix(self._crowd.mesh, layout.REQUESTS)),
            "start_revision": str(revision + 1),
            "progress_notify": True,
        }
        writer.write(self._request("watch", {"create_request": create}))
        await reader.readuntil(b'"created":true')
        said = await self.ask("lease/grant", {"TTL": str(LEASE)})
        found = re.search(rb'"ID":"(\d+)"', said)
        assert found
        lease = found[1].decode()
        key = layout.alive(self._crowd.mesh, self._name)
        sign = {"key": _b64(key), "value": _b64(random.randbytes(SIGN)), "lease": lease}
        await self.ask("kv/put", sign)
        self._crowd.tasks.append(asyncio.create_task(self._watch(reader)))
        self._crowd.tasks.append(asyncio.create_task(self._live(lease)))

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        while await reader.readuntil(b'"events":['):
            self._crowd.heard.append(time.monotonic())

    async def _live(self, lease: str) -> None:
        """What an agent does while nothing happens."""
        poll = time.monotonic() + POLL * random.random()
        while True:
            await asyncio.sleep(jittered(RENEW))
            try:
                await self.ask("lease/keepalive", {"ID": lease})
                if time.monotonic() >= poll:
                    poll += POLL
                    for body in self._crowd.signs:
                        await self.ask("kv/range", body)
            except (OSError, EOFError):
                self._refused()


class Crowd:
    """Clients of a store.

    :ivar waited: seconds until each answer began.
    :ivar heard: when each client has heard of a change.
    :ivar refused: requests that a member has refused, and that were begun anew.
    """

    def __init__(self, urls: Sequence[str], mesh: str, count: int) -> None:
        self.urls, self.mesh = urls, mesh
        self.clients = [Client(self, number) for number in range(count)]
        self.tasks: list[asyncio.Task[None]] = []
        self.waited: list[float] = []
        self.heard: list[float] = []
        self.signs: list[dict[str, str]] = []
        self.refused = 0

    async def begin(self, store: Etcd) -> float:
        """Start all at once; seconds until all have what an agent wants at its start."""
        lists = pages(store, self.mesh)
        revision = store.list(layout.prefix(self.mesh)).revision
        begin = time.monotonic()
        await asyncio.gather(*(client.begin(lists, revision) for client in self.clients))
        took = time.monotonic() - begin
        self.signs = pages(store, self.mesh, layout.ALIVE)
        return took

    async def all_hear(self) -> tuple[float, float]:
        """When the first and the last client has heard of the next change."""
        self.heard.clear()
        while len(self.heard) < len(self.clients):
            self._see()
            await asyncio.sleep(0.005)
        return min(self.heard), max(self.heard)

    def _see(self) -> None:
        for task in self.tasks:
            if task.done():
                task.result()  # which raises what has ended it

    async def rest(self, seconds: float) -> None:
        """Live for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._see()
            await asyncio.sleep(0.5)

    @property
    def late(self) -> int:
        """Answers that began later than an agent waits: it would have asked the next member."""
        return sum(seconds > TIMEOUT for seconds in self.waited)

    async def end(self) -> None:
        """End all."""
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, EOFError):
                await task
