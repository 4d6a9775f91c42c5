# SPDX-License-Identifier: GPL-2.0
"""Files with a secret: Ed25519 private keys of admins and hosts, passwords. 0600, and checked."""

from __future__ import annotations

import os
import stat

from ..conf import values
from ..conf.files import create_private
from ..errors import L2wgError, ValueProblem, from_os_error
from ..model import SecretKey
from . import signing

#: Bytes of a secret that are read.
_SECRET_MAX = 4096


def create(path: str) -> SecretKey:
    """A new key in a new file.

    :raises L2wgError: it is there already, or cannot be written.
    """
    secret = signing.generate()
    create_private(path, f"{secret.reveal()}\n", "name another file")
    return secret


def secret_text(path: str) -> str:
    """The text of a file that only its owner may read, without the white space around it.

    :raises L2wgError: it cannot be read, or others can read it.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            status = os.fstat(stream.fileno())
            text = stream.read(_SECRET_MAX)
    except OSError as error:
        raise from_os_error(error, path) from None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode) and mode & 0o077:
        raise L2wgError(f"is open to others (mode {mode:04o})", f"chmod 600 {path}", path)
    return text.strip()


def read(path: str) -> SecretKey:
    """The key in a file.

    :raises L2wgError: it cannot be read, others can read it, or it holds no key; the text has the
        path only.
    """
    text = secret_text(path)
    try:
        return values.secret_key(text)
    except ValueProblem:
        hint = "name a file that 'l2wgctl mesh keygen', or 'join', has written"
        raise L2wgError("holds no private key", hint, path) from None
