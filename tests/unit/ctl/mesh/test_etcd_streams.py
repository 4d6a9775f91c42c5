# SPDX-License-Identifier: GPL-2.0
"""The client against answers that only a damaged etcd gives, or a proxy before it."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from l2wgctl.errors import L2wgError
from l2wgctl.mesh.etcd import LISTS, Etcd
from l2wgctl.mesh.gateway import Login
from l2wgctl.mesh.store import Changed, Ended, Member, Progress, Refused


class TestOddStreams:
    """What a gateway, or a proxy before it, may do to a stream."""

    @pytest.fixture
    def serve(self) -> Iterator[Callable[[list[bytes]], str]]:
        servers: list[http.server.ThreadingHTTPServer] = []

        def begin(chunks: list[bytes]) -> str:
            class Handler(http.server.BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for chunk in chunks:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")

                def log_message(self, *_: object) -> None:
                    pass

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=server.serve_forever).start()
            servers.append(server)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield begin
        for server in servers:
            server.shutdown()
            server.server_close()

    CREATED = b'{"result":{"header":{"revision":"9"},"created":true}}\n'
    PUT = b'{"result":{"header":{"revision":"10"},"events":[{"kv":{"key":"L2E=","mod_revision":"10"}}]}}\n'  # noqa: E501

    @pytest.mark.parametrize("size", [1, 7, 60, 100_000])
    def test_several_and_half_messages_a_chunk(
        self, serve: Callable[[list[bytes]], str], size: int
    ) -> None:
        text = self.CREATED + self.PUT + self.PUT
        chunks = [text[n : n + size] for n in range(0, len(text), size)]
        events = list(Etcd([serve(chunks)]).watch("/", 10))
        change = Changed("/a", b"", 10)
        assert events[:3] == [Progress(9), change, change]
        assert isinstance(events[3], Ended) and events[3].why == "broken"

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            (b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}\n', "cancelled"),
            (b'{"error":{"grpc_code":11,"message":"mvcc: ... compacted"}}\n', "compacted"),
            (b'{"result":{"canceled":true}}\n', "cancelled"),
            (b'{"result":{"canceled":true,"compact_revision":"5"}}\n', "compacted"),
            (b"<html>\n", "broken"),
            (b"[]\n", "broken"),
        ],
    )
    def test_how_it_ends(self, serve: Callable[[list[bytes]], str], line: bytes, why: str) -> None:
        events = list(Etcd([serve([self.CREATED, line])]).watch("/", 10))
        assert [type(e) for e in events] == [Progress, Ended]
        assert isinstance(events[-1], Ended) and events[-1].why == why

    @pytest.mark.parametrize(
        "line",
        [
            b'{"result":{"header":7}}\n',
            b'{"result":[]}\n',
            b'{"result":{"events":[{}]}}\n',
            b'{"result":{"events":[{"kv":{"key":"!","mod_revision":"x"}}]}}\n',
            b'{"error":{"grpc_code":"x"}}\n',
            b"[" * 100_000 + b"\n",
        ],
    )
    def test_answers_of_another_shape(
        self, serve: Callable[[list[bytes]], str], line: bytes
    ) -> None:
        """They end a watch, and no thread."""
        events = list(Etcd([serve([self.CREATED, line])]).watch("/", 10))
        assert [type(e) for e in events] == [Progress, Ended]
        assert isinstance(events[-1], Ended) and events[-1].why in ("broken", "cancelled")

    @pytest.mark.parametrize(
        "answer",
        [b'{"kvs":7}', b'{"kvs":[{}]}', b'{"kvs":[],"more":true}', b'{"header":[]}', b"[" * 10**5],
    )
    def test_lists_of_another_shape(
        self, serve: Callable[[list[bytes]], str], answer: bytes
    ) -> None:
        with pytest.raises(L2wgError):
            Etcd([serve([answer])]).list("/l2wg/")

    def test_words_of_the_store_are_a_strangers(self, serve: Callable[[list[bytes]], str]) -> None:
        line = b'{"result":{"canceled":true,"cancel_reason":"a\\u001b[2J\\nb%s"}}\n' % (b"c" * 9999)
        ended = list(Etcd([serve([self.CREATED, line])]).watch("/", 10))[-1]
        assert isinstance(ended, Ended) and ended.detail.startswith("a [2J bccc")
        assert len(ended.detail) == 500

    def test_a_list_without_an_end(self, serve: Callable[[list[bytes]], str]) -> None:
        with pytest.raises(L2wgError, match="answers what etcd does not"):
            Etcd([serve([b'{"kvs":[{"key":"L2E="}],"more":true}'])]).list("/l2wg/")

    def test_no_json_for_an_answer(self, serve: Callable[[list[bytes]], str]) -> None:
        with pytest.raises(L2wgError) as caught:
            Etcd([serve([b"<html>\n", b"a proxy's page</html>"])]).get("/a")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("committed", [11, 12, 13])
    def test_a_member_that_is_behind_the_others(
        self, serve: Callable[[list[bytes]], str], committed: int
    ) -> None:
        """It says so by its own revision; whether the store is younger, a majority knows."""
        store = Etcd([serve([self.CREATED])])
        asked = []

        def ask(path: str, body: object) -> dict[str, object]:
            asked.append((path, body))
            return {"header": {"revision": str(committed)}}

        store._ask = ask  # type: ignore[method-assign]
        event = next(iter(store.watch("/", 13)))
        if committed == 11:
            assert event == Ended("cancelled", "the store is at revision 11, and was at 12")
        else:
            assert event == Progress(12)
        assert asked == [("kv/range", {"key": "Lw==", "count_only": True})]

    def test_a_member_that_is_behind_and_then_away(
        self, serve: Callable[[list[bytes]], str]
    ) -> None:
        store = Etcd([serve([self.CREATED])])

        def ask(path: str, body: object) -> dict[str, object]:
            raise Refused("does not want to", None, store.url)

        store._ask = ask  # type: ignore[method-assign]
        events = list(store.watch("/", 13))
        assert [type(e) for e in events] == [Ended]
        assert isinstance(events[0], Ended) and events[0].why == "broken"


def test_very_many_tiny_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry takes memory, however short it is."""
    store, pages = Etcd(["http://127.0.0.1:9"]), 0

    def ask(path: str, body: object) -> dict[str, object]:
        nonlocal pages
        pages += 1
        keys = (base64.b64encode(b"/%09d" % (1000 * pages + n)).decode() for n in range(500))
        return {"kvs": [{"key": key} for key in keys], "more": True}

    monkeypatch.setattr(store, "_ask", ask)
    with pytest.raises(Refused, match="has more than 64 MiB"):
        store.list("/")
    assert pages <= (64 << 20) // (500 * 512) + 1


def test_a_list_that_is_always_compacted_ends() -> None:
    """The truth now and then, between two pages; for ever only from who wants to keep us busy."""
    store, asked = Etcd(["http://127.0.0.1:9"]), []

    def ask(path: str, body: object) -> dict[str, object]:
        asked.append(path)
        raise Refused("etcdserver: mvcc: required revision has been compacted", None, store.url)

    store._ask = ask  # type: ignore[method-assign]
    with pytest.raises(Refused, match="compacted"):
        store.list("/")
    assert len(asked) == LISTS + 1


def test_a_watch_that_is_cancelled_before_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Etcd(["http://127.0.0.1:9"])

    class Connection:
        def close(self) -> None:
            pass

    def opens(url: str, timeout: float) -> Connection:
        store.cancel()
        return Connection()

    monkeypatch.setattr(store, "_open", opens)
    assert [type(event) for event in store.watch("/", 1)] == [Ended]


@pytest.mark.parametrize("token", ["a\r\nHost: x", "\u2028", "\x1b[2J", 7, None])
def test_a_token_that_no_header_can_have(token: object) -> None:
    """It must not stay: the store may be itself again later."""
    store = Etcd(["http://127.0.0.1:9"], Login(user="berlin", password="geheim"))
    store._ask_member = lambda url, path, body: {"token": token}  # type: ignore[method-assign]
    with pytest.raises(Refused, match="answers what etcd does not"):
        store.get("/a")
    assert store._token is None
    assert [type(event) for event in store.watch("/", 1)] == [Ended]


@pytest.mark.parametrize(
    "odd", [{"header": []}, {"header": {"member_id": []}}, {"dbSize": "much"}, {"dbSize": [1]}]
)
def test_a_member_that_is_odd_hides_no_other(odd: dict[str, object]) -> None:
    urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    store = Etcd(urls)
    members = [{"ID": str(n), "name": f"m{n}", "clientURLs": [url]} for n, url in enumerate(urls)]
    sound = {"header": {"member_id": "0"}, "version": "3.4.23", "dbSize": "7", "leader": "0"}
    store._ask = lambda path, body: {"members": members}  # type: ignore[method-assign]
    store._probe = lambda url: sound if url == urls[0] else odd  # type: ignore[method-assign]
    first, second = store.members()
    assert first == Member("m0", urls[0], "3.4.23", 7, 0, True)
    assert second == Member("m1", urls[1], trouble="answers what etcd does not")
