# SPDX-License-Identifier: GPL-2.0
"""Files with a secret: Ed25519 private keys of admins and hosts, passwords. 0600, and checked."""

from __future__ import annotations

import os
import stat

from ..conf import values
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
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise L2wgError("is there already", "name another file", path) from None
    except OSError as error:
        raise from_os_error(error, path, True) from None
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(f"{secret.reveal()}\n")
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException as error:  # also Ctrl-C: half a key would be in the way of the next one
        os.unlink(path)
        if not isinstance(error, OSError):
            raise
        raise from_os_error(error, path, True) from None
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
