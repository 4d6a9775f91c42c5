# SPDX-License-Identifier: GPL-2.0
"""Names of peers, from the file of their link, and whether it has a mesh. Without a file there are
none, which is no error.

The file is scanned and not parsed, because `show` and `monitor` look into it each time, and a file
with a mistake in it still has names.
"""

from __future__ import annotations

import os

from ..grammar import CONFIG_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def scan(text: str) -> dict[bytes, str]:
    """The names in a configuration's text, by public key."""
    from ..errors import ValueProblem
    from . import values

    found: dict[bytes, str] = {}
    key = name = None
    # byte order marks stand before headers, where files were joined
    for line in text.replace("\ufeff", "").split("\n"):
        bare = line.partition("#")[0].strip()
        if bare.startswith("["):
            key = name = None
            continue
        word, _, value = bare.partition("=")
        word = word.strip().lower()
        try:
            if word == "publickey":
                key = values.public_key(value.strip())
            elif word == "name":
                name = values.peer_name(value.strip())
        except ValueProblem:
            continue
        if key and name:
            found[key] = name
    return found


def has_mesh(text: str) -> bool:
    """Whether a configuration's text has a section `[Mesh]`: then an agent belongs to its link."""
    lines = text.replace("\ufeff", "").lower().split("\n")
    return any(line.partition("#")[0].strip() == "[mesh]" for line in lines)


class Names:
    """The names of each link's peers; a file is read again when it has changed."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = CONFIG_DIR if folder is None else folder
        self._known: dict[str, tuple[tuple[int, int], dict[bytes, str], bool]] = {}

    def of(self, interface: str) -> Mapping[bytes, str]:
        """Public key to name, for the peers of a link that have one."""
        return self._look(interface)[0]

    def has_mesh(self, interface: str) -> bool:
        """Whether the link belongs to a mesh."""
        return self._look(interface)[1]

    def _look(self, interface: str) -> tuple[Mapping[bytes, str], bool]:
        path = f"{self._folder}/{interface}.conf"
        if not os.path.isfile(path):  # a FIFO would keep us waiting
            self._known.pop(interface, None)
            return {}, False
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_mtime_ns, status.st_size)
                if interface not in self._known or self._known[interface][0] != stamp:
                    text = file.read()
                    self._known[interface] = (stamp, scan(text), has_mesh(text))
        except OSError:
            self._known.pop(interface, None)
            return {}, False
        return self._known[interface][1:]
