# SPDX-License-Identifier: GPL-2.0
"""The parts of documents that commands write."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import say
from toolkit.tables import read

KERNELS = Path("docs/kernels.md")


def file(document: Path = KERNELS) -> Path:
    """Where a document is."""
    return paths.ROOT / document


def tables(part: str, document: Path = KERNELS) -> list[list[list[str]]]:
    """The tables of a part, with the results of earlier runs.

    :raises ToolError: the file has no such part.
    """
    return read(_match(part, file(document))[0])


def put(part: str, text: str, document: Path = KERNELS) -> None:
    """Replace one part, which stands between ``<!-- PART -->`` and ``<!-- end of PART -->``.

    :raises ToolError: the file has no such part.
    """
    place = _match(part, file(document))
    old = place.string
    file(document).write_text(f"{old[: place.start()]}{text}\n{old[place.end() :]}")
    say(f"Written: {paths.shown(file(document))}")


def _match(part: str, document: Path) -> re.Match[str]:
    pattern = rf"(?<=<!-- {part} -->\n).*?(?=<!-- end of {part} -->)"
    if found := re.search(pattern, document.read_text(), re.DOTALL):
        return found
    raise ToolError(f"{document}: has no part <!-- {part} --> ... <!-- end of {part} -->")
