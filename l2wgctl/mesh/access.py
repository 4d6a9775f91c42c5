# SPDX-License-Identifier: GPL-2.0
"""The store that `[Mesh]` names, and the secrets with which this host comes in."""

from __future__ import annotations

from typing import Callable

from ..conf.keyfiles import located
from ..model import MeshOptions
from .etcd import Etcd
from .gateway import TIMEOUT, Login
from .keyfile import secret_text


def login(mesh: MeshOptions, where: str) -> Login:
    """The files and the password of `[Mesh]`; relative paths count from the folder of `where`.

    :raises L2wgError: one cannot be read, or is open to others.
    """

    def path(written: str | None) -> str | None:
        return None if written is None else located(written, where)

    key, password = path(mesh.key), path(mesh.password_file)
    if key is not None:
        secret_text(key)
    return Login(
        path(mesh.ca),
        path(mesh.certificate),
        key,
        mesh.user,
        None if password is None else secret_text(password),
    )


def opener(mesh: MeshOptions, where: str, timeout: float = TIMEOUT) -> Callable[[], Etcd]:
    """Makes clients of the store, one for each thread.

    :raises L2wgError: a file that `[Mesh]` names cannot be used.
    """
    how = login(mesh, where)
    # A mistake is said now, not by a thread.
    Etcd(mesh.engines, how, timeout).close()
    return lambda: Etcd(mesh.engines, how, timeout)
