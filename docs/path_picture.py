#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws docs/path.svg: a frame's way through the driver, and where the patches call our functions.

docs/path_picture.py >docs/path.svg
"""

from __future__ import annotations

from frame_picture import STYLE, text

WIDTH = 880
LEFT, STEP, BOX = 16, 148, 34  # a step is a box and the arrow behind it
ROWS = {"sending": 40, "receiving": 182}
HOOK = 62  # pixels from a row to the hooks below it

#: What the driver does, and the function of ours that it calls there.
SENDING = (
    ("stack", ""),
    ("wg_xmit", "l2wg_check_packet"),
    ("look up the peer", "l2wg_lookup"),
    ("pad", "l2wg_padding"),
    ("encrypt", ""),
    ("UDP socket", ""),
)
RECEIVING = (
    ("UDP socket", ""),
    ("decrypt", ""),
    ("take the length", "l2wg_receive"),
    ("check the source", "l2wg_lookup"),
    ("GRO", ""),
    ("stack", ""),
)

MORE_STYLE = """
.centred { text-anchor: middle }"""


def box(kind: str, x: int, y: int, width: int, label: str) -> str:
    """A labelled rectangle."""
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BOX}"/>\n' + text(
        "", x + width / 2, y + BOX / 2 + 5, label
    )


def row(name: str, steps: tuple[tuple[str, str], ...]) -> str:
    """The steps from left to right, and below them the functions that they call."""
    y = ROWS[name]
    out = text("name", LEFT, y - 14, name)
    width = STEP - 24
    for number, (label, hook) in enumerate(steps):
        x = LEFT + number * STEP
        end = number in (0, len(steps) - 1)
        out += box("packet" if end else "outer", x, y, width, label)
        if number < len(steps) - 1:
            at, to = y + BOX // 2, x + STEP
            out += f'<path class="line" d="M{x + width} {at}H{to - 2}m-7 -4l7 4l-7 4"/>\n'
        if hook:
            middle = x + width // 2
            out += f'<path class="line" d="M{middle} {y + BOX}V{y + HOOK}"/>\n'
            out += box("more", x - 8, y + HOOK, width + 16, hook)
    return out


def picture() -> str:
    """The whole SVG document."""
    height = ROWS["receiving"] + HOOK + BOX + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 16} {height}" role="img">\n'
        "<!-- SPDX-License-Identifier: GPL-2.0. Made by docs/path_picture.py. -->\n"
        "<title>A frame's way through the driver, and the functions that it asks</title>\n"
        f"<style>\n{STYLE}{MORE_STYLE}\n</style>\n"
        + row("sending", SENDING)
        + row("receiving", RECEIVING)
        + "</svg>\n"
    )


if __name__ == "__main__":
    print(picture(), end="")
