# SPDX-License-Identifier: GPL-2.0
"""What a host knows of its mesh, on disk: through a restart without the store, nothing changes.

The file holds envelopes, which are verified again when they are read, and serials, which are not
signed: who can write to it can make old records good again. So it is root's alone, mode 0600.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..conf import meshvalues, values
from ..conf.files import write_private
from ..errors import L2wgError, ValueProblem, from_os_error
from .record import SERIAL_MAX, Listed
from .trust import Snapshot

#: Where the file of a mesh is: MESH/memory.json. The unit's StateDirectory is l2wg/MESH.
FOLDER = Path("/var/lib/l2wg")
VERSION = 1
#: Bytes; 10,000 records of 1 KiB are 20 MB with all that is beside them.
SIZE_MAX = 64 * 1024 * 1024


def file_of(mesh: str, folder: Path | None = None) -> Path:
    """The file of a mesh."""
    return (folder or FOLDER) / meshvalues.mesh_name(mesh) / "memory.json"


def load(path: Path, mesh: str) -> Snapshot | None:
    """What the file holds; None: there is no file.

    :raises L2wgError: it cannot be read, others may write to it, or it is damaged. The agent puts
        it aside then (`put_aside`), says so, and starts as a new host does.
    """
    raw = _read(path)
    if raw is None:
        return None
    try:
        fields = json.loads(raw.decode("ascii"))
        version = fields["version"]
        if isinstance(version, int) and version > VERSION:
            raise L2wgError(
                f"is of a newer l2wgctl (version {version}, this one knows {VERSION})",
                "install that one",
                str(path),
            )
        found = _snapshot(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "l2wgctl mesh import it anew from another host, or remove it to trust the store once"
        raise L2wgError("is damaged", hint, str(path), "damaged") from None
    if found.mesh != mesh:
        hint = f"it belongs in {file_of(found.mesh, path.parent.parent)}"
        raise L2wgError(f"is of the mesh {found.mesh}, not {mesh}", hint, str(path))
    return found


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            raw = stream.read(SIZE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, str(path)) from None
    if status.st_mode & 0o022:
        mode = stat.S_IMODE(status.st_mode)
        what = f"may be written by others (mode {mode:04o})"
        raise L2wgError(what, f"chmod 600 {path}, and see who has", str(path))
    if len(raw) > SIZE_MAX:
        raise L2wgError(f"is longer than {SIZE_MAX} bytes", "remove it", str(path), "damaged")
    return raw


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("ascii")


def _snapshot(fields: dict[str, Any]) -> Snapshot:
    """:raises ValueError: a value is not valid; or what a missing or strange field raises."""
    if fields["version"] != VERSION:
        raise ValueError
    names = {*fields["floors"], *fields["held"], *fields["applied"], *fields["moved"]}
    try:
        for name in (fields["mesh"], *names):
            meshvalues.mesh_name(name)
        moved = {name: values.public_key(key) for name, key in fields["moved"].items()}
    except ValueProblem:
        raise ValueError from None
    floors = {}
    for name, (serial, revoked) in fields["floors"].items():
        if type(serial) is not int or not 0 < serial <= SERIAL_MAX or type(revoked) is not bool:
            raise ValueError
        floors[name] = Listed(serial, revoked)
    return Snapshot(
        fields["mesh"],
        _bytes(fields["list"]),
        floors,
        {name: text.encode("ascii") for name, text in fields["held"].items()},
        {name: _bytes(text) for name, text in fields["applied"].items()},
        moved,
    )


def save(path: Path, snapshot: Snapshot) -> None:
    """Write the file, atomically, mode 0600; a failure leaves the old one.

    :raises L2wgError: it cannot be written.
    """

    def text(raw: bytes | None) -> str | None:
        return None if raw is None else raw.decode("ascii")

    fields = {
        "version": VERSION,
        "mesh": snapshot.mesh,
        "list": text(snapshot.list),
        "floors": {name: [*floor] for name, floor in _pairs(snapshot)},
        "held": {name: text(raw) for name, raw in snapshot.held.items()},
        "applied": {name: text(raw) for name, raw in snapshot.applied.items()},
        "moved": {name: str(key) for name, key in snapshot.moved.items()},
    }
    _make(path.parent)
    write_private(str(path), json.dumps(fields, indent=0, sort_keys=True) + "\n")


def _pairs(snapshot: Snapshot) -> list[tuple[str, tuple[int, bool]]]:
    return [(name, (floor.serial, floor.revoked)) for name, floor in snapshot.floors.items()]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, str(folder), True) from None


def put_aside(path: Path) -> Path:
    """Rename a file that is damaged, so that a person can look at it; its new name.

    :raises L2wgError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except OSError as error:
        raise from_os_error(error, str(path), True) from None
    return aside


# -- signs of life ---------------------------------------------------------------------------------


def load_sequence(path: Path) -> int:
    """The number of this host's last sign of life; 0: nobody knows.

    :param path: the file of the mesh, beside which it is.
    """
    try:
        number = int(path.with_name("sequence").read_bytes())
    except (OSError, ValueError):
        return 0
    return number if 0 < number < SERIAL_MAX else 0


def save_sequence(path: Path, number: int) -> None:
    """Keep it.

    :raises L2wgError: it cannot be written.
    """
    _make(path.parent)
    write_private(str(path.with_name("sequence")), f"{number}\n")


# -- import ----------------------------------------------------------------------------------------


def _inbox(path: Path) -> Path:
    return path.with_name("import")


def _taken(path: Path) -> Path:
    return path.with_name("import.taken")


def put_import(path: Path, envelopes: Sequence[bytes]) -> None:
    """Lay envelopes ready for the agent, beside what it has not taken yet.

    :raises L2wgError: they cannot be written.
    """
    inbox = _inbox(path)
    _make(inbox.parent)
    before = _read(inbox) or b""
    lines = dict.fromkeys([*before.splitlines(), *(raw.strip() for raw in envelopes)])
    write_private(str(inbox), "".join(f"{line.decode('ascii')}\n" for line in lines))


def take_import(path: Path) -> list[bytes]:
    """What was laid ready; it is there until `drop_import`. The agent asks now and then.

    :raises L2wgError: it cannot be read.
    """
    inbox, taken = _inbox(path), _taken(path)
    try:
        # What is laid ready from here on is a new file. One that a crash has left comes first.
        if not taken.exists():
            os.replace(inbox, taken)
        raw = _read(taken)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(error, str(inbox), True) from None
    return [] if raw is None else raw.splitlines()


def drop_import(path: Path) -> None:
    """Remove what `take_import` gave: it is in the memory now.

    :raises L2wgError: it cannot be removed.
    """
    try:
        _taken(path).unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, str(_taken(path)), True) from None
