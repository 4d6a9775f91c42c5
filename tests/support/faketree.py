# SPDX-License-Identifier: GPL-2.0
"""A kernel tree that holds just what the patches look for, made from the patches themselves."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.kernels.source import DRIVER
from toolkit.kmod import patching

HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? ")


def originals() -> dict[str, list[tuple[int, list[str]]]]:
    """File name -> the texts that the series' hunks replace, each with its line number."""
    found: dict[str, list[tuple[int, list[str]]]] = {}
    for patch in patching.series():
        blocks: list[tuple[int, list[str]]] = []
        wanted = 0
        for line in patch.read_text().splitlines():
            if wanted and line[:1] in ("", " ", "-"):
                blocks[-1][1].append(line[1:])
                wanted -= 1
            elif line.startswith("--- a/"):
                blocks = found.setdefault(Path(line[6:]).name, [])
            elif match := HUNK.match(line):
                wanted = int(match[2] or 1)
                blocks.append((int(match[1]), []))
    return found


def make(tree: Path, version: str = "6.1.192") -> Path:
    """Make the tree; the lines that no patch looks at are comments."""
    driver = tree / DRIVER
    driver.mkdir(parents=True)
    numbers = dict(zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), version.split("."), strict=True))
    (tree / "Makefile").write_text("".join(f"{k} = {v}\n" for k, v in numbers.items()))
    files = originals()
    for name in ("noise.c", "noise.h"):
        files[name] = []
    for name, blocks in files.items():
        lines: list[str] = []
        for start, block in sorted(blocks):
            lines += [f"/* {name} {i + 1} */" for i in range(len(lines), start - 1)] + block
        # A hunk without context behind it fits at the end of a file only: main.c has one.
        end = [] if name == "main.c" else [f"/* the end of {name} */"]
        (driver / name).write_text("\n".join([*lines, *end]) + "\n")
    (driver / "netlink.c").chmod(0o600)
    (driver / "noise.c").chmod(0o755)
    return tree


def snapshot(tree: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's content and mode."""
    return {
        str(p.relative_to(tree)): (p.read_bytes(), p.stat().st_mode)
        for p in sorted(tree.rglob("*"))
        if p.is_file()
    }
