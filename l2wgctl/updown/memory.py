# SPDX-License-Identifier: GPL-2.0
"""Small facts about a link that are remembered until the machine restarts, beside its record.

They help but are never needed: if they cannot be written or read, there are none.
"""

from __future__ import annotations

import json

from ..conf.files import write_private
from ..errors import L2wgError
from . import record


def recall(name: str, about: str) -> dict[str, str]:
    """What is remembered about a link; empty if nothing is."""
    try:
        found = json.loads((record.folder() / f"{name}.{about}").read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def remember(name: str, about: str, what: dict[str, str]) -> None:
    """Remember something about a link, in place of what was; forget it if `what` is empty."""
    try:
        path = record.folder() / f"{name}.{about}"
        if not what:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(str(path), json.dumps(what) + "\n")
    except (OSError, L2wgError):
        pass
