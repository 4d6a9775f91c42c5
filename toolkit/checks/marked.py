# SPDX-License-Identifier: GPL-2.0
"""The parts of docs/kernels.md that commands write."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import say
from toolkit.tables import read


def file() -> Path:
    """docs/kernels.md."""
    return paths.ROOT / "docs/kernels.md"


def tables(part: str) -> list[list[list[str]]]:
    """The tables of a part, with the results of earlier runs.

    :raises ToolError: the file has no such part.
    """
    return read(_match(part, file().read_text())[0])


def put(part: str, text: str) -> None:
    """Replace one part, which stands between ``<!-- PART -->`` and ``<!-- end of PART -->``.

    :raises ToolError: the file has no such part.
    """
    old = file().read_text()
    place = _match(part, old)
    file().write_text(f"{old[: place.start()]}{text}\n{old[place.end() :]}")
    say(f"Written: {paths.shown(file())}")


def _match(part: str, text: str) -> re.Match[str]:
    pattern = rf"(?<=<!-- {part} -->\n).*?(?=<!-- end of {part} -->)"
    if found := re.search(pattern, text, re.DOTALL):
        return found
    raise ToolError(f"{file()}: has no part <!-- {part} --> ... <!-- end of {part} -->")
