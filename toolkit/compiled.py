# SPDX-License-Identifier: GPL-2.0
"""Our own C programs for this machine, built on first use and named after their sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import ToolError


def compiled(into: Path, suffix: str, command: Sequence[str], sources: Sequence[Path]) -> Path:
    """Build a program, named `into` plus a hash and `suffix`, unless it is there.

    :param command: compiler and options.
    :param sources: the hash is over the command and their contents; headers among them are not
        compiled.
    :returns: the path of the program.
    :raises ToolError: the compiler is missing or refuses.
    """
    digest = hashlib.sha256(" ".join(command).encode())
    for source in sources:
        digest.update(source.read_bytes())
    result = into.with_name(f"{into.name}-{digest.hexdigest()[:16]}{suffix}")
    if result.exists():
        return result
    into.parent.mkdir(parents=True, exist_ok=True)
    # Two test runs may build at once: each writes its own file and renames it.
    fd, draft = tempfile.mkstemp(dir=into.parent)
    os.close(fd)
    try:
        subprocess.run(
            [*command, "-o", draft, *(str(source) for source in sources if source.suffix == ".c")],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        os.replace(draft, result)
    except FileNotFoundError:
        triplet, cross, _ = command[0].rpartition("-gcc")
        packages = f"gcc-{triplet}" if cross else "gcc clang"
        raise ToolError(f"no C compiler '{command[0]}'", f"apt-get install {packages}") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise ToolError(f"{command[0]} can't build {into.name}: {first}") from None
    finally:
        Path(draft).unlink(missing_ok=True)
    return result
