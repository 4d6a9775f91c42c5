# SPDX-License-Identifier: GPL-2.0
"""The client against a real etcd: keys, watches, and members that fail."""

from __future__ import annotations

import base64
import socket

import pytest

from l2wgctl.mesh.etcd import PAGE, Etcd
from l2wgctl.mesh.store import Changed, Ended, Progress, Refused, Store, Unreachable
from tests.unit.ctl.mesh.conftest import Begin
from toolkit.lab.etcd import Cluster, free_ports


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
        assert isinstance(watcher.next(), Progress)
        watcher.end()
        assert isinstance(watcher.next_change(), Ended)

    def test_a_silent_member_is_left_and_nothing_lost(self, three: Cluster, watch: Begin) -> None:
        store = Etcd(three.clients[1:])
        start = store.put("/w5/a", b"0")
        # long enough for a busy machine; the frozen member costs it once or twice
        watching = Etcd(three.clients, timeout=10, silent=1)
        watching._at = 0
        watcher = watch(watching, "/w5/", start + 1)
        assert isinstance(watcher.next(), Progress)
        three.freeze(0)
        try:
            three.led(1, 2)
            revision = store.put("/w5/a", b"1")
            assert watcher.next_change() == Changed("/w5/a", b"1", revision)
        finally:
            three.thaw(0)

    def test_a_member_that_dies_breaks_it(self, three: Cluster, watch: Begin) -> None:
        watching = Etcd(three.clients)
        watching._at = 0
        watcher = watch(watching, "/w6/", 1)
        assert isinstance(watcher.next(), Progress)
        three.kill(0)
        event = watcher.next_change()
        assert isinstance(event, Ended) and event.why == "broken"

    def test_a_member_without_the_others_cancels_it(self, three: Cluster, watch: Begin) -> None:
        """Its own answers would look well for ever: nothing happens where no leader is."""
        watching = Etcd(three.clients[:1])
        watcher = watch(watching, "/w7/", 1)
        assert isinstance(watcher.next(), Progress)
        three.kill(1)
        three.kill(2)
        event = watcher.next_change()
        assert isinstance(event, Ended) and event.why in ("cancelled", "broken")


class TestSeveral:
    def test_one_dies_and_comes_back(self, three: Cluster) -> None:
        store = Etcd(three.clients)
        store._at = 0
        store.put("/s/a", b"1")
        three.kill(0)
        three.led(1, 2)
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
