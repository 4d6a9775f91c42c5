# SPDX-License-Identifier: GPL-2.0
"""The crowd that asks of a store what agents ask."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from l2wgctl.mesh import layout
from l2wgctl.mesh.etcd import Etcd
from toolkit.bench import mesh, mesh_crowd
from toolkit.bench.mesh_crowd import END, Crowd, pages
from toolkit.errors import ToolError
from toolkit.lab.etcd import Cluster

MESH = "office"


@pytest.mark.parametrize(
    ("tail", "ended"),
    [
        (b"}\n\r\n0\r\n\r\n", True),
        (b"}\r\n0\r\nGrpc-Trailer-Content-Type: application/grpc\r\n\r\n", True),
        (b"}\r\n0\r\nGrpc-Trailer-Content-Type: application/grpc\r\n", False),
        (b"}\n\r\n10\r\n\r\n", False),
        (b"}\n", False),
    ],
)
def test_the_end_of_an_answer(tail: bytes, ended: bool) -> None:
    assert bool(END.search(tail)) == ended


@pytest.mark.program("etcd")
def test_clients_do_what_agents_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_crowd, "PAGE", 3)
    cluster = Cluster(tmp_path)
    cluster.start()
    store = Etcd(cluster.clients)
    try:
        for number in range(7):
            store.put(layout.node(MESH, f"h{number}"), b"x" * 3000)
        asked = pages(store, MESH)
        starts = [base64.b64decode(body["key"]).decode() for body in asked]
        assert starts == ["/l2wg/office/", "/l2wg/office/nodes/h2\0", "/l2wg/office/nodes/h5\0"]
        assert len({body["range_end"] for body in asked}) == 1
        # nobody listens at the first member of some
        crowd = Crowd(["http://127.0.0.1:9", *cluster.clients], MESH, 4)
        asyncio.run(_lives(crowd, store))
    finally:
        cluster.stop()
    assert crowd.refused == 2 and crowd.late == 0


async def _lives(crowd: Crowd, store: Etcd) -> None:
    await crowd.begin(store)
    signs = layout.prefix(MESH, layout.ALIVE)
    assert len((await asyncio.to_thread(store.list, signs)).entries) == 4
    hears = asyncio.create_task(crowd.all_hear())
    await asyncio.sleep(0)
    await asyncio.to_thread(store.put, layout.node(MESH, "h1"), b"y")
    first, last = await hears
    assert first <= last
    await crowd.end()


@pytest.mark.program("etcd")
def test_a_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "mesh.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nbehind\n")
    mesh.insert("x", [["a", "b"], ["1", "2"]], page, mesh.where(0.5))
    before, sentence, behind = page.read_text().partition("\n\nMeasured on ")
    assert before == "before\n<!-- x -->\n| a | b |\n| --- | ---: |\n| 1 | 2 |" and sentence
    assert behind.endswith("; load average before: 0.5.\n<!-- /x -->\nbehind\n")
    with pytest.raises(ToolError, match="has no <!-- y -->"):
        mesh.insert("y", [["a"]], page)
