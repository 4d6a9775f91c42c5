# SPDX-License-Identifier: GPL-2.0
"""The parts of docs/kernels.md that commands write."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import say


def file() -> Path:
    """docs/kernels.md."""
    return paths.ROOT / "docs/kernels.md"


def put(part: str, text: str) -> None:
    """Replace one part, which stands between ``<!-- PART -->`` and ``<!-- end of PART -->``.

    :raises ToolError: the file has no such part.
    """
    old = file().read_text()
    pattern = rf"(?<=<!-- {part} -->\n).*?(?=<!-- end of {part} -->)"
    new, count = re.subn(pattern, lambda _: f"{text}\n", old, flags=re.DOTALL)
    if count != 1:
        raise ToolError(f"{file()}: has no part <!-- {part} --> ... <!-- end of {part} -->")
    file().write_text(new)
    say(f"Written: {paths.shown(file())}")
