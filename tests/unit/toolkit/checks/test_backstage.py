# SPDX-License-Identifier: GPL-2.0
"""The store and the admin of a mesh of two machines."""

from __future__ import annotations

from xmlrpc.client import Fault, ServerProxy

import pytest

from l2wgctl.mesh import signing
from toolkit.checks.backstage import backstage


@pytest.mark.program("etcd")
def test_a_machine_reaches_store_and_admin() -> None:
    with backstage() as port:
        stage = ServerProxy(f"http://127.0.0.1:{port}", allow_none=True)
        opened = stage.open()
        assert isinstance(opened, dict)
        assert len(opened["ports"]) == 3 and opened["trusted"].startswith("TrustedKeys = ")
        stage.write("nodes/a", "x")
        stage.kill(1)
        assert (stage.read("nodes/a"), stage.read("nodes/b")) == ("x", None)
        stage.start(1)
        stage.compact()
        with pytest.raises(Fault, match="l2wgctl mesh revoke: l2wgctl: .*has no host a"):
            stage.revoke("a")
        with pytest.raises(Fault, match="has not asked to join"):
            stage.sign("b", signing.fingerprint(b""))
