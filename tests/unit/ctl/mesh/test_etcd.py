# SPDX-License-Identifier: GPL-2.0
"""The client against a real etcd, and against answers that only a damaged one gives."""

from __future__ import annotations

import base64
import http.server
import queue
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l2wgctl.errors import L2wgError
from l2wgctl.mesh.etcd import PAGE, Etcd
from l2wgctl.mesh.gateway import Login
from l2wgctl.mesh.store import Changed, Ended, Event, Progress, Refused, Store, Unreachable
from toolkit.bench.etcd import Cluster, free_ports

real = pytest.mark.program("etcd")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("etcd"))
    cluster.start()
    yield cluster
    cluster.stop()


class Watcher:
    """A watch in a thread of its own; its events come in order."""

    def __init__(self, store: Etcd, prefix: str, revision: int) -> None:
        self.store = store
        self.events: queue.Queue[Event] = queue.Queue()
        self.thread = threading.Thread(target=self._run, args=(prefix, revision))
        self.thread.start()

    def _run(self, prefix: str, revision: int) -> None:
        for event in self.store.watch(prefix, revision):
            self.events.put(event)

    def next(self) -> Event:
        return self.events.get(timeout=60)

    def next_change(self) -> Event:
        while isinstance(event := self.next(), Progress):
            pass
        return event

    def end(self) -> None:
        self.store.cancel()
        self.thread.join()


@pytest.fixture
def watch() -> Iterator[Callable[[Etcd, str, int], Watcher]]:
    watchers: list[Watcher] = []

    def begin(store: Etcd, prefix: str, revision: int) -> Watcher:
        watchers.append(Watcher(store, prefix, revision))
        return watchers[-1]

    yield begin
    for watcher in watchers:
        watcher.end()


Begin = Callable[[Etcd, str, int], Watcher]


@real
class TestKeys:
    def test_put_get_delete(self, one: Cluster) -> None:
        store: Store = Etcd(one.clients)
        assert store.get("/t1/a") is None
        revision = store.put("/t1/a", b"\0\xff")
        entry = store.get("/t1/a")
        assert entry == ("/t1/a", b"\0\xff", 1, revision, 0)
        assert store.delete("/t1/a") is True
        assert store.delete("/t1/a") is False
        assert store.get("/t1/a") is None

    def test_an_empty_value_is_a_value(self, one: Cluster) -> None:
        store = Etcd(one.clients)
        store.put("/t2/a", b"")
        entry = store.get("/t2/a")
        assert entry is not None and entry.value == b""

    def test_a_list_has_several_pages_of_one_revision(self, one: Cluster) -> None:
        store = Etcd(one.clients)
        for n in range(1203):
            store.put(f"/t3/{n:05}", b"x")
        other = store.put("/t30", b"not under the prefix")
        listing = store.list("/t3/")
        assert [e.key for e in listing.entries] == [f"/t3/{n:05}" for n in range(1203)]
        assert listing.revision == other

    def test_keys_that_are_no_text_are_listed_once(self, one: Cluster) -> None:
        """As text, the last key of a page lies before it: the page would come again for ever."""
        store = Etcd(one.clients)
        for number in range(PAGE + 7):
            raw = b"/odd/\xff%04d" % number
            store._ask("kv/put", {"key": base64.b64encode(raw).decode(), "value": ""})
        assert len(store.list("/odd/").entries) == PAGE + 7

    def test_put_if_needs_what_was_read(self, one: Cluster) -> None:
        store = Etcd(one.clients)
        first = store.put_if("/t4/a", b"1", 0)
        assert first
        assert store.put_if("/t4/a", b"2", 0) is None
        second = store.put_if("/t4/a", b"2", first)
        assert second and second > first
        assert store.put_if("/t4/a", b"3", first) is None
        # done already, and the answer was lost
        assert store.put_if("/t4/a", b"2", first) == second

    def test_a_lease_takes_its_keys_along(self, one: Cluster) -> None:
        store = Etcd(one.clients)
        lease = store.grant(60)
        store.put("/t5/a", b"x", lease)
        entry = store.get("/t5/a")
        assert entry and entry.lease == lease
        assert store.keepalive(lease) == 60
        store.revoke(lease)
        assert store.get("/t5/a") is None
        assert store.keepalive(lease) == 0
        store.revoke(lease)

    def test_put_on_a_lease_that_is_over(self, one: Cluster) -> None:
        with pytest.raises(Refused, match="requested lease not found"):
            Etcd(one.clients).put("/t5/b", b"x", 99)

    def test_a_closed_idle_connection_is_opened_anew(self, one: Cluster) -> None:
        store = Etcd(one.clients)
        store.put("/t6/a", b"x")
        assert store._connection
        store._connection.sock.shutdown(socket.SHUT_RDWR)
        assert store.get("/t6/a")

    def test_members(self, one: Cluster) -> None:
        (member,) = Etcd(one.clients).members()
        assert (member.name, member.url, member.is_leader) == ("m0", one.clients[0], True)
        assert member.version.startswith("3.") and member.size >= member.in_use > 0
        assert member.alarms == () and member.trouble == ""


@real
class TestWatch:
    def test_from_a_revision_on(self, one: Cluster, watch: Begin) -> None:
        store = Etcd(one.clients)
        start = store.put("/w1/a", b"0")
        store.put("/w1/a", b"1")
        store.put("/other", b"x")
        watcher = watch(Etcd(one.clients), "/w1/", start + 1)
        assert watcher.next() == Progress(start)
        assert watcher.next_change() == Changed("/w1/a", b"1", start + 1)
        store.delete("/w1/a")
        assert watcher.next_change() == Changed("/w1/a", None, start + 3)

    def test_up_to_an_end(self, one: Cluster) -> None:
        store = Etcd(one.clients)
        start = store.put("/w0/alive/a", b"0")
        for key in ("/w0/requests/a", "/w0/nodes/a", "/w0/lists/a"):
            store.put(key, b"1")
        watching = Etcd(one.clients)
        found = []
        for event in watching.watch("/w0/lists/", start, "/w0/requests/"):
            found += [event.key] if isinstance(event, Changed) else []
            if found[-1:] == ["/w0/lists/a"]:
                break
        assert found == ["/w0/nodes/a", "/w0/lists/a"]

    def test_compacted(self, one: Cluster, watch: Begin) -> None:
        store = Etcd(one.clients)
        start = store.put("/w2/a", b"0")
        now = store.put("/w2/a", b"1")
        store._ask("kv/compaction", {"revision": str(now)})
        event = watch(Etcd(one.clients), "/w2/", start).next_change()
        assert isinstance(event, Ended) and event.why == "compacted"

    def test_a_store_that_is_younger_than_we_remember(self, one: Cluster, watch: Begin) -> None:
        event = watch(Etcd(one.clients), "/w3/", 1_000_000).next_change()
        assert isinstance(event, Ended) and event.why == "cancelled"
        assert "and was at 999999" in event.detail

    def test_cancel_ends_it(self, one: Cluster, watch: Begin) -> None:
        watcher = watch(Etcd(one.clients), "/w4/", 1)
        watcher.next()
        watcher.end()
        assert isinstance(watcher.next_change(), Ended)

    def test_a_silent_member_is_left_and_nothing_lost(self, three: Cluster, watch: Begin) -> None:
        store = Etcd(three.clients[1:])
        start = store.put("/w5/a", b"0")
        # long enough for a busy machine; the frozen member costs it once or twice
        watching = Etcd(three.clients, timeout=10, silent=1)
        watching._at = 0
        watcher = watch(watching, "/w5/", start + 1)
        watcher.next()
        three.freeze(0)
        try:
            revision = store.put("/w5/a", b"1")
            assert watcher.next_change() == Changed("/w5/a", b"1", revision)
        finally:
            three.thaw(0)

    def test_a_member_that_dies_breaks_it(self, three: Cluster, watch: Begin) -> None:
        watching = Etcd(three.clients)
        watching._at = 0
        watcher = watch(watching, "/w6/", 1)
        watcher.next()
        three.kill(0)
        event = watcher.next_change()
        assert isinstance(event, Ended) and event.why == "broken"

    def test_a_member_without_the_others_cancels_it(self, three: Cluster, watch: Begin) -> None:
        """Its own answers would look well for ever: nothing happens where no leader is."""
        watching = Etcd(three.clients[:1])
        watcher = watch(watching, "/w7/", 1)
        watcher.next()
        three.kill(1)
        three.kill(2)
        event = watcher.next_change()
        assert isinstance(event, Ended) and event.why in ("cancelled", "broken")


@real
class TestSeveral:
    def test_one_dies_and_comes_back(self, three: Cluster) -> None:
        store = Etcd(three.clients)
        store._at = 0
        store.put("/s/a", b"1")
        three.kill(0)
        store.put("/s/a", b"2")
        assert store.url != three.clients[0]
        troubles = {m.name: m.trouble for m in store.members()}
        assert troubles == {"m0": "nobody listens there", "m1": "", "m2": ""}
        three.start(0)
        entry = store.get("/s/a")
        assert entry and entry.value == b"2"

    def test_without_a_majority(self, three: Cluster) -> None:
        store = Etcd(three.clients, timeout=2)
        three.kill(1)
        three.kill(2)
        with pytest.raises(Unreachable) as caught:
            store.put("/s/b", b"1")
        text = str(caught.value)
        assert text.startswith("no member of the store answers: ") and "\n" not in text
        assert f"{three.clients[1]}: nobody listens there" in text

    def test_nobody(self) -> None:
        (port,) = free_ports(1)
        with pytest.raises(Unreachable) as caught:
            Etcd([f"http://127.0.0.1:{port}"]).get("/a")
        assert str(caught.value) == (
            f"http://127.0.0.1:{port}: nobody listens there "
            "(is etcd running? --listen-client-urls says where)"
        )


@real
class TestUsers:
    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[Cluster]:
        cluster = Cluster(tmp_path, options=["--auth-token-ttl=1"])
        cluster.start()
        admin = Etcd(cluster.clients)
        admin._ask("auth/user/add", {"name": "root", "password": "r"})
        admin._ask("auth/role/add", {"name": "root"})
        admin._ask("auth/user/grant", {"user": "root", "role": "root"})
        admin._ask("auth/user/add", {"name": "berlin", "password": "geheim"})
        admin._ask("auth/role/add", {"name": "mesh"})
        permission = {"permType": "READWRITE", "key": "L2E=", "range_end": "L2I="}
        admin._ask("auth/role/grant", {"name": "mesh", "perm": permission})
        admin._ask("auth/user/grant", {"user": "berlin", "role": "mesh"})
        admin._ask("auth/enable", {})
        yield cluster
        cluster.stop()

    def test_a_user_comes_in_and_stays_in(self, guarded: Cluster, watch: Begin) -> None:
        login = Login(user="berlin", password="geheim")
        assert "geheim" not in repr(login)
        store = Etcd(guarded.clients, login)
        store.put("/a/x", b"1")
        # a token that has ended, or that another life of the member gave
        store._token = "nonsense.1"
        store.put("/a/x", b"2")
        watching = Etcd(guarded.clients, login)
        watching._token = "nonsense.2"
        watcher = watch(watching, "/a/", 1)
        assert isinstance(watcher.next_change(), Changed)
        with pytest.raises(Refused) as caught:
            store.put("/c", b"1")
        assert "does not let this user do that (etcdctl role grant" in str(caught.value)

    @pytest.mark.parametrize(
        ("login", "text"),
        [
            (Login(), "wants a user (write User and PasswordFile)"),
            (
                Login(user="berlin", password="falsch"),
                "refuses the password (check User and PasswordFile)",
            ),
        ],
    )
    def test_others_do_not(self, guarded: Cluster, login: Login, text: str) -> None:
        with pytest.raises(Refused) as caught:
            Etcd(guarded.clients, login).get("/a/x")
        assert str(caught.value) == f"{guarded.clients[0]}: {text}"

    def test_a_user_for_a_store_without_users(self, one: Cluster) -> None:
        Etcd(one.clients, Login(user="x", password="y")).put("/u/a", b"1")


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """A CA, the server's certificate with and without clientAuth, a client's, and a stranger."""
    for ca in ("ca", "stranger"):
        openssl(
            folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{ca}.key",
            "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}",
        )  # fmt: skip
    for name, usage, more in (
        ("server", "serverAuth,clientAuth", ""),
        ("poor", "serverAuth", ""),
        ("client", "clientAuth", ""),
        ("other", "serverAuth,clientAuth", "DNS:elsewhere"),
    ):
        (folder / f"{name}.ext").write_text(
            f"extendedKeyUsage={usage}\nsubjectAltName={more or 'IP:127.0.0.1'}\n"
        )
        openssl(
            folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.csr", "-subj", "/O=l2wg",
        )  # fmt: skip
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem",
        )  # fmt: skip


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificates(folder)
    return folder


def served_with(folder: Path, certs: Path, name: str, *, clients: bool) -> Cluster:
    options = [f"--cert-file={certs}/{name}.pem", f"--key-file={certs}/{name}.key"]
    if clients:
        options += ["--client-cert-auth", f"--trusted-ca-file={certs}/ca.pem"]
    cluster = Cluster(folder, options=options, scheme="https")
    cluster.start()
    return cluster


@pytest.mark.program("etcd", "openssl")
class TestTLS:
    @pytest.fixture
    def secure(self, tmp_path: Path, certs: Path) -> Iterator[Cluster]:
        cluster = served_with(tmp_path, certs, "server", clients=True)
        yield cluster
        cluster.stop()

    def test_with_certificates(self, secure: Cluster, certs: Path, watch: Begin) -> None:
        login = Login(f"{certs}/ca.pem", f"{certs}/client.pem", f"{certs}/client.key")
        store = Etcd(secure.clients, login)
        revision = store.put("/a", b"1")
        watcher = watch(Etcd(secure.clients, login), "/a", revision)
        assert watcher.next_change() == Changed("/a", b"1", revision)
        watcher.end()

    def test_without_or_with_a_strangers(self, secure: Cluster, certs: Path) -> None:
        url = secure.clients[0]
        for login, text in (
            (Login(f"{certs}/stranger.pem"), "its certificate is signed by nobody that we trust"),
            # the others, if the alert is overtaken by the end of the connection
            (
                Login(f"{certs}/ca.pem"),
                "refuses our certificate|ends TLS at once|closes the connection",
            ),
            (
                Login(f"{certs}/ca.pem", f"{certs}/stranger.pem", f"{certs}/stranger.key"),
                "refuses our certificate|ends TLS at once|closes the connection",
            ),
        ):
            with pytest.raises(Unreachable) as caught:
                Etcd([url], login).get("/a")
            assert re.match(rf"{url}: ({text}) \(", str(caught.value)), str(caught.value)

    def test_tls_and_no_tls_mixed_up(self, secure: Cluster, one: Cluster) -> None:
        plain = secure.clients[0].replace("https", "http")
        with pytest.raises(Unreachable) as caught:
            Etcd([plain]).get("/a")
        assert str(caught.value) == (
            f"{plain}: closes the connection (is this etcd's port for clients (2379), "
            "and has Engine its https:// or http://?)"
        )
        tls = one.clients[0].replace("http", "https")
        with pytest.raises(
            Unreachable, match="speaks no TLS|ends TLS at once|closes the connection"
        ):
            Etcd([tls]).get("/a")

    def test_a_certificate_for_another_name(self, tmp_path: Path, certs: Path) -> None:
        cluster = served_with(tmp_path, certs, "other", clients=False)
        try:
            with pytest.raises(Unreachable, match="its certificate is for another name"):
                Etcd(cluster.clients, Login(f"{certs}/ca.pem")).get("/a")
        finally:
            cluster.stop()

    def test_a_server_that_cannot_dial_itself(self, tmp_path: Path, certs: Path) -> None:
        cluster = served_with(tmp_path, certs, "poor", clients=True)
        try:
            login = Login(f"{certs}/ca.pem", f"{certs}/client.pem", f"{certs}/client.key")
            with pytest.raises(L2wgError) as caught:
                Etcd(cluster.clients, login).get("/a")
            assert "clientAuth" in str(caught.value)
        finally:
            cluster.stop()

    def test_files_that_are_none(self, certs: Path, tmp_path: Path) -> None:
        url = ["https://127.0.0.1:1"]
        for login, text in (
            (Login(f"{tmp_path}/no.pem"), f"{tmp_path}/no.pem: no such file (check the path)"),
            (
                Login(f"{certs}/ca.key"),
                f"{certs}/ca.key: is no certificate (CA = names a PEM file)",
            ),
            (
                Login(f"{certs}/ca.pem", f"{certs}/client.pem", f"{certs}/server.key"),
                f"{certs}/client.pem: is not the certificate of {certs}/server.key "
                "(name the two that belong together)",
            ),
        ):
            with pytest.raises(L2wgError) as caught:
                Etcd(url, login)
            assert str(caught.value) == text


@real
def test_a_member_without_a_gateway(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, options=["--enable-grpc-gateway=false"])
    cluster.start()
    try:
        with pytest.raises(Unreachable, match="has no JSON gateway .start etcd with"):
            Etcd(cluster.clients).get("/a")
    finally:
        cluster.stop()


@real
def test_a_full_store_says_how_to_mend_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, options=["--quota-backend-bytes=65536"])
    cluster.start()
    try:
        store = Etcd(cluster.clients)
        with pytest.raises(Refused, match="is full .etcdctl compact, defrag"):
            for n in range(1000):
                store.put(f"/{n}", bytes(4096))
        (member,) = store.members()
        assert member.alarms == ("NOSPACE",)
    finally:
        cluster.stop()


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
