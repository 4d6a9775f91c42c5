# SPDX-License-Identifier: GPL-2.0
"""The store that `[Mesh]` names, and the secrets with which this host comes in."""

from __future__ import annotations

import os
import stat
from typing import Callable

from ..conf.keyfiles import located
from ..errors import L2wgError, from_os_error
from ..model import MeshOptions
from .etcd import Etcd
from .gateway import TIMEOUT, Login

#: Bytes of a password that are read.
_PASSWORD_MAX = 4096


def secret_file(path: str) -> str:
    """The text of a file that only its owner may read, without the white space around it.

    :raises L2wgError: it cannot be read, or others can read it.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            mode = os.fstat(stream.fileno())
            text = stream.read(_PASSWORD_MAX)
    except OSError as error:
        raise from_os_error(error, path) from None
    only_owner(path, mode)
    return text.strip()


def only_owner(path: str, status: os.stat_result) -> None:
    """See that a file with a secret is its owner's alone.

    :raises L2wgError: it is not.
    """
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode) and mode & 0o077:
        raise L2wgError(f"is open to others (mode {mode:04o})", f"chmod 600 {path}", path)


def login(mesh: MeshOptions, where: str) -> Login:
    """The files and the password of `[Mesh]`; relative paths count from the folder of `where`.

    :raises L2wgError: one cannot be read, or is open to others.
    """

    def path(written: str | None) -> str | None:
        return None if written is None else located(written, where)

    key, password = path(mesh.key), path(mesh.password_file)
    if key is not None:
        secret_file(key)
    return Login(
        path(mesh.ca),
        path(mesh.certificate),
        key,
        mesh.user,
        None if password is None else secret_file(password),
    )


def opener(mesh: MeshOptions, where: str, timeout: float = TIMEOUT) -> Callable[[], Etcd]:
    """Makes clients of the store, one for each thread.

    :raises L2wgError: a file that `[Mesh]` names cannot be used.
    """
    how = login(mesh, where)
    # A mistake is said now, not by a thread.
    Etcd(mesh.engines, how, timeout).close()
    return lambda: Etcd(mesh.engines, how, timeout)
