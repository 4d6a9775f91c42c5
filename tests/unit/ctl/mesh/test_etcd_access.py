# SPDX-License-Identifier: GPL-2.0
"""The client against an etcd that wants a user or a certificate, or that refuses."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2wgctl.errors import L2wgError
from l2wgctl.mesh.etcd import Etcd
from l2wgctl.mesh.gateway import Login
from l2wgctl.mesh.store import Changed, Refused, Unreachable
from tests.unit.ctl.mesh.conftest import Begin
from toolkit.lab.etcd import Cluster


class TestUsers:
    @pytest.fixture
    def guarded(self, tmp_path: Path, etcd: Path) -> Iterator[Cluster]:
        cluster = Cluster(tmp_path, options=["--auth-token-ttl=1"], program=etcd)
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


def served_with(etcd: Path, folder: Path, certs: Path, name: str, *, clients: bool) -> Cluster:
    options = [f"--cert-file={certs}/{name}.pem", f"--key-file={certs}/{name}.key"]
    if clients:
        options += ["--client-cert-auth", f"--trusted-ca-file={certs}/ca.pem"]
    cluster = Cluster(folder, options=options, scheme="https", program=etcd)
    cluster.start()
    return cluster


@pytest.mark.program("openssl")
class TestTLS:
    @pytest.fixture
    def secure(self, tmp_path: Path, certs: Path, etcd: Path) -> Iterator[Cluster]:
        cluster = served_with(etcd, tmp_path, certs, "server", clients=True)
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
            # etcd 3.5, or 3.4; the others, if the alert is overtaken by the end of the connection
            (
                Login(f"{certs}/ca.pem"),
                "wants a client's certificate|refuses our certificate"
                "|ends TLS at once|closes the connection",
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

    def test_a_certificate_for_another_name(self, tmp_path: Path, certs: Path, etcd: Path) -> None:
        cluster = served_with(etcd, tmp_path, certs, "other", clients=False)
        try:
            with pytest.raises(Unreachable, match="its certificate is for another name"):
                Etcd(cluster.clients, Login(f"{certs}/ca.pem")).get("/a")
        finally:
            cluster.stop()

    def test_a_server_that_cannot_dial_itself(
        self, tmp_path: Path, certs: Path, etcd: Path
    ) -> None:
        cluster = served_with(etcd, tmp_path, certs, "poor", clients=True)
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


def test_a_member_without_a_gateway(tmp_path: Path, etcd: Path) -> None:
    cluster = Cluster(tmp_path, options=["--enable-grpc-gateway=false"], program=etcd)
    cluster.start()
    try:
        with pytest.raises(Unreachable, match="has no JSON gateway .start etcd with"):
            Etcd(cluster.clients).get("/a")
    finally:
        cluster.stop()


def test_a_full_store_says_how_to_mend_it(tmp_path: Path, etcd: Path) -> None:
    cluster = Cluster(tmp_path, options=["--quota-backend-bytes=65536"], program=etcd)
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
