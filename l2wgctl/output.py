# SPDX-License-Identifier: GPL-2.0
"""Where text goes: data to stdout, messages to stderr; colours and secrets as in `wg`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

from .errors import PROG, Problem


def say(problems: Iterable[Problem]) -> None:
    """Print problems or warnings to stderr, one line each."""
    for problem in problems:
        print(f"{PROG}: {problem}", file=sys.stderr)


def print_lines(lines: Iterable[str]) -> None:
    """Many lines on stdout, some hundred at a time: memory stays flat, and so does the number of
    writes where Python does not buffer (PYTHONUNBUFFERED, as in many containers)."""
    it = iter(lines)
    while text := "".join(islice(it, 500)):
        sys.stdout.write(text)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    import json

    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def reveal_keys() -> bool:
    """Whether secrets may be shown: WG_HIDE_KEYS=never, as in `wg`."""
    return os.environ.get("WG_HIDE_KEYS") == "never"


def colour() -> bool:
    """Whether stdout takes colours: WG_COLOR_MODE always, never or auto, and NO_COLOR."""
    mode = os.environ.get("WG_COLOR_MODE", "")
    if mode in ("always", "never"):
        return mode == "always"
    return not os.environ.get("NO_COLOR") and sys.stdout.isatty()
