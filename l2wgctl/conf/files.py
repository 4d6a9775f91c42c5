# SPDX-License-Identifier: GPL-2.0
"""Configuration files on disk: find, read, load, and write the text of one."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import grammar
from ..errors import L2wgError, Problem, ValueProblem, from_os_error
from ..model import ZERO_KEY, Device
from . import values
from .keys import BY_NAME, LIST, VLAN_ADDRESS
from .parse import Config, items, parse, without_marks

#: Where `up wg1` and `setconf wg1` look for wg1.conf.
CONFIG_DIR = Path(grammar.CONFIG_DIR)


def read_text(path: str) -> tuple[str, tuple[Problem, ...]]:
    """A file's text, and a warning if others can read a file with keys.

    Bytes that are not UTF-8 become surrogates, so that they can be written as they were; byte
    order marks are left out.

    :raises L2wgError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            raw = stream.read()
    except OSError as error:
        raise from_os_error(error, path) from None
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise L2wgError("is UTF-16 text", "save it as UTF-8", path)
    text = without_marks(raw.decode("utf-8", "surrogateescape"))
    mode = stat.S_IMODE(status.st_mode)
    secrets = "privatekey" in text.lower() or "presharedkey" in text.lower()
    if secrets and stat.S_ISREG(status.st_mode) and mode & 0o077:
        who = "world" if mode & 0o007 else "group"
        return text, (
            Problem(
                path,
                f"holds keys and is {who} accessible (mode {mode:04o})",
                f"chmod 600 {path}",
                True,
                code="mode",
            ),
        )
    return text, ()


def load(path: str) -> Config:
    """Read and parse a file.

    :raises ConfigError: it has mistakes.
    :raises L2wgError: it cannot be read.
    """
    text, warnings = read_text(path)
    from .keyfiles import fill

    config = fill(parse(text, path))
    return config._replace(warnings=warnings + config.warnings)


def locate(name: str) -> tuple[str, str]:
    """(interface name, path) for `IFACE` or a `FILE.conf`.

    :raises L2wgError: the link's name is not valid, or the file's does not end in .conf.
    """
    if "/" not in name and not name.endswith(".conf"):
        try:
            return values.interface_name(name), str(CONFIG_DIR / f"{name}.conf")
        except ValueProblem as problem:
            raise L2wgError(f"link name {problem.what}", problem.hint) from None
    stem = Path(name).name
    if not stem.endswith(".conf"):
        raise L2wgError(
            "the file's name does not end in .conf", "name it after the link: wg1.conf", name
        )
    try:
        return values.interface_name(stem[:-5]), name
    except ValueProblem as problem:
        raise L2wgError(
            f"link name {problem.what}", "the file is named after the link: wg1.conf", name
        ) from None


def whole(device: Device, name: str) -> Device:
    """The device as `setconf` sends it: what the file leaves out is reset."""
    return device._replace(
        name=name,
        private_key=device.private_key or ZERO_KEY,
        listen_port=device.listen_port or 0,
        fwmark=device.fwmark or 0,
        replace_peers=True,
    )


def strip(text: str, where: str = "") -> str:
    """The text without what `wg setconf` does not accept; the rest stays as it is.

    Lines with keys that `wg` does not know are removed. It does not accept empty values: a key
    with an empty value loses its line, a list its superfluous commas. Keys that stand in files of
    their own are put in.

    :param where: the file's path.
    :raises L2wgError: such a file cannot be read.
    """
    kept: list[str] = []
    section = ""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    for line in lines:
        bare = line.partition("#")[0].strip()
        if bare.startswith("["):
            section = bare.strip("[]").strip().lower()
        if section == "mesh" and bare:
            continue
        name, equals, value = bare.partition("=")
        name, value = name.strip().lower(), value.strip()
        key = BY_NAME.get(section, {}).get(name) if equals else None
        if key is None:
            if section == "interface" and VLAN_ADDRESS.fullmatch(name):
                continue
        elif key.parse is values.path and where:
            from .keyfiles import read

            # PrivateKeyFile, PresharedKeyFile
            kind = "private key" if section == "interface" else "preshared key"
            line = f"{key.name.removesuffix('File')} = {read(value, where, kind).reveal()}"
        elif not key.wg or (not value and key.empty):
            continue
        elif key.how is LIST and len(items(value)) != value.count(",") + 1:
            line = line.replace(value, ", ".join(items(value)), 1) if items(value) else ""
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def write_private(path: str, text: str) -> None:
    """Replace a file atomically, mode 0600; a failure leaves the old one.

    :raises L2wgError: it cannot be written.
    """
    replace(path, text.encode("utf-8", "surrogateescape"))


def replace(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically; a failure leaves the old one.

    :raises L2wgError: it cannot be written.
    """
    import tempfile

    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise from_os_error(error, path, True) from None


def create_private(path: str, text: str, hint: str) -> None:
    """Write a file that is new, mode 0600, or none.

    :param hint: what to do if the path is taken: of two programs that create it one gets it.
    :raises L2wgError: it is taken, or cannot be written.
    """
    try:
        # Not by a link to a temporary file: FAT, as on a stick for the other host, has none.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise L2wgError("is there already", hint, path) from None
    except OSError as error:
        raise from_os_error(error, path, True) from None
    try:
        write_private(path, text)
    except BaseException:  # also Ctrl-C: it would be in the way of the next one
        os.unlink(path)
        raise


@contextmanager
def kept_if_done(paths: list[str]) -> Iterator[None]:
    """Remove new files, those in `paths` at the end of the block, if the block fails. It prints
    what is to be known of them, so output that cannot be written is a failure, too.

    :raises L2wgError: standard output cannot be written.
    """
    try:
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            raise from_os_error(error, "standard output", True) from None
    except BaseException:
        for path in paths:
            Path(path).unlink(missing_ok=True)
        raise
