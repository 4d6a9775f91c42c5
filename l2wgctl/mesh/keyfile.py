# SPDX-License-Identifier: GPL-2.0
"""Files with one Ed25519 private key: the admins', and each host's own. Mode 0600, and checked."""

from __future__ import annotations

import os
import stat

from ..conf import values
from ..errors import L2wgError, ValueProblem, from_os_error
from ..model import SecretKey
from . import signing


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
    except OSError as error:
        os.unlink(path)
        raise from_os_error(error, path, True) from None
    return secret


def read(path: str) -> SecretKey:
    """The key in a file.

    :raises L2wgError: it cannot be read, others can read it, or it holds no key; the text has the
        path only.
    """
    try:
        with open(path, encoding="latin-1") as stream:
            status = os.fstat(stream.fileno())
            text = stream.read(4096).strip()
    except OSError as error:
        raise from_os_error(error, path) from None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode) and mode & 0o077:
        raise L2wgError(f"is open to others (mode {mode:04o})", f"chmod 600 {path}", path)
    try:
        return values.secret_key(text)
    except ValueProblem:
        hint = "name the file that 'l2wgctl mesh keygen' has written"
        raise L2wgError("holds no private key of an admin", hint, path) from None
