# SPDX-License-Identifier: GPL-2.0
"""Tell systemd how the agent is (sd_notify(3)); elsewhere this does nothing."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(**state: str) -> None:
    """Send `READY=1`, `STATUS=...` and the like; who is not there to hear it is no error."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    text = "\n".join(f"{name}={value}" for name, value in state.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.sendall(text.encode())
