# SPDX-License-Identifier: GPL-2.0
"""What a mesh of two machines needs besides them, on this machine: its store and its admin.

Three members of etcd would take minutes in a machine without KVM. Here they are as fast as
anywhere, and so is the admin's l2wgctl. The tests run in the first machine; they call the methods
of `Backstage` over XML-RPC. Both machines reach this one's loopback through QEMU's user network.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCServer

from l2wgctl.mesh import keyfile, layout, signing
from l2wgctl.mesh.etcd import Etcd
from l2wgctl.mesh.record import parse_record
from toolkit import paths
from toolkit.lab.etcd import PATIENT, Cluster

MEMBERS = 3


class Backstage:
    """The store and the admin of one mesh. Every public method can be called from a machine.

    :param folder: for the members' data, the admin's keys and what he remembers.
    """

    def __init__(self, folder: Path, mesh: str = "office") -> None:
        self._folder = folder
        self._mesh = mesh
        self._cluster = Cluster(folder, MEMBERS, PATIENT)
        self._store = Etcd(self._cluster.clients)

    def open(self) -> dict[str, object]:
        """Start the members and make the admins' keys: the members' ports, and TrustedKeys."""
        self._cluster.start()
        keys = [str(self._folder / name) for name in ("admin.key", "reserve.key")]
        trusted = self._l2wgctl("keygen", *keys).strip()
        section = f"[Mesh]\nEngine = {', '.join(self._cluster.clients)}\n{trusted}\n"
        (self._folder / "admin.conf").write_text(section)
        ports = [int(url.rpartition(":")[2]) for url in self._cluster.clients]
        return {"ports": ports, "trusted": trusted}

    def close(self) -> None:
        """End the members."""
        self._cluster.stop()

    # -- the members -------------------------------------------------------------------------------

    def kill(self, *members: int) -> None:
        """Kill members, as a power failure does; all if none is named.

        If a majority is left, wait until it has a leader.
        """
        for number in members or range(MEMBERS):
            self._cluster.kill(number)
        left = [*self._cluster.processes]
        if len(left) > MEMBERS // 2:
            self._cluster.led(*left)

    def start(self, *members: int) -> None:
        """Start members with their data, all if none is named, and wait until they are healthy."""
        self._cluster.start(*members)

    # -- somebody who can write to the store -------------------------------------------------------

    def read(self, part: str) -> str | None:
        """What is in the store under a part of the mesh, ``nodes/a``."""
        entry = self._store.get(self._key(part))
        return None if entry is None else entry.value.decode()

    def write(self, part: str, value: str) -> None:
        """Put something there, past l2wgctl."""
        self._store.put(self._key(part), value.encode())

    def compact(self) -> None:
        """Let the store forget all revisions but the newest."""
        newest = self._store.put("/compaction", b"")
        self._store._ask("kv/compaction", {"revision": str(newest), "physical": True})

    def forged(self, name: str) -> str:
        """A host's record with a higher serial, signed by nobody whom the hosts trust."""
        raw = self.read(f"nodes/{name}")
        assert raw is not None
        admin = signing.public_key(keyfile.read(str(self._folder / "admin.key")))
        record = parse_record(signing.unseal(raw.encode(), [admin]).record)
        newer = replace(record, serial=record.serial + 1)
        return signing.seal(newer.canonical(), signing.generate()).decode()

    # -- the admin ---------------------------------------------------------------------------------

    def sign(self, name: str, fingerprint: str) -> str:
        """Admit a host; what l2wgctl says."""
        return self._admin("sign", name, "--fingerprint", fingerprint)

    def revoke(self, name: str) -> str:
        """Put a host out; what l2wgctl says."""
        return self._admin("revoke", name)

    def _admin(self, action: str, *words: str) -> str:
        key, conf = self._folder / "admin.key", self._folder / "admin.conf"
        return self._l2wgctl(action, f"--key={key}", f"--file={conf}", self._mesh, *words)

    def _l2wgctl(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "l2wgctl", "mesh", *words],
            env={**os.environ, "PYTHONPATH": str(paths.ROOT), "XDG_STATE_HOME": str(self._folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"l2wgctl mesh {words[0]}: {done.stderr}")
        return done.stdout

    def _key(self, part: str) -> str:
        return layout.prefix(self._mesh) + part


@contextlib.contextmanager
def backstage() -> Iterator[int]:
    """Serve a mesh's store and admin during the block; the port on the loopback."""
    with (
        tempfile.TemporaryDirectory(prefix="l2wg-backstage-") as folder,
        SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False, allow_none=True) as server,
    ):
        stage = Backstage(Path(folder))
        server.register_instance(stage)
        thread = threading.Thread(target=server.serve_forever, name="backstage")
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
            stage.close()
