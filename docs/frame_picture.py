#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws docs/frame.svg: what an Ethernet frame costs in WireGuard, byte for byte to scale.

docs/frame_picture.py >docs/frame.svg
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

SCALE = 7  # pixels a byte
PACKET = 150  # pixels; the packet alone is not to scale
LEFT, TOP, PITCH, HEIGHT = 16, 40, 84, 34

OUTER = (("IPv4", 20), ("UDP", 8), ("WireGuard", 16))
TAG = ("auth tag", 16)
ETHERNET = ("Ethernet", 14)


@dataclass(frozen=True)
class Row:
    """One encapsulation: its name and the headers between WireGuard's and the IP packet."""

    name: str
    inner: tuple[tuple[str, int], ...]

    @property
    def cost(self) -> int:
        """Bytes more than an IP packet in WireGuard."""
        return sum(size for _, size in self.inner)


ROWS = (
    Row("IP packet in WireGuard (wireguard)", ()),
    Row("Ethernet in WireGuard (l2wireguard)", (ETHERNET,)),
    Row("Ethernet in GRETAP in WireGuard", (("IPv4", 20), ("GRE", 4), ETHERNET)),
    Row("Ethernet in VXLAN in WireGuard", (("IPv4", 20), ("UDP", 8), ("VXLAN", 8), ETHERNET)),
)

STYLE = """\
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #fff; text-anchor: middle }
.name { font-size: 15px; font-weight: 600; text-anchor: start }
.cost { font-size: 15px; font-weight: 600; text-anchor: end }
.name, .cost, .note { fill: #6e7781 }
.note { text-anchor: start }
rect { stroke: #8b949e; stroke-width: 1 }
.outer { fill: #57606a }
.more { fill: #b35900 }
.packet { fill: #1a7f37 }
.line { stroke: #6e7781; stroke-width: 1.5; fill: none }
@media (prefers-color-scheme: light) { .name, .cost, .note { fill: #24292f } }
@media (prefers-color-scheme: dark) { .name, .cost, .note { fill: #e6edf3 } }"""


def text(kind: str, x: float, y: float, what: str) -> str:
    """A line of text; its class says how it is anchored."""
    class_ = f' class="{kind}"' if kind else ""
    return f'<text{class_} x="{x:g}" y="{y:g}">{escape(what)}</text>\n'


def box(kind: str, x: int, y: int, width: int, *lines: str) -> str:
    """A labelled rectangle."""
    middle = x + width / 2
    out = f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{HEIGHT}"/>\n'
    for i, line in enumerate(lines):
        at = y + HEIGHT / 2 + 5 + (i - (len(lines) - 1) / 2) * 14
        out += text("", middle, at, line)
    return out


def row(number: int, what: Row) -> str:
    """A name, and the headers from left to right."""
    y = TOP + number * PITCH
    out = text("name", LEFT, y - 9, what.name)
    x = LEFT
    for kind, parts in (("outer", OUTER), ("more", what.inner)):
        for label, size in parts:
            out += box(kind, x, y, size * SCALE, label, str(size))
            x += size * SCALE
    out += box("packet", x, y, PACKET, "IP packet")
    x += PACKET
    out += box("outer", x, y, TAG[1] * SCALE, TAG[0], str(TAG[1]))
    x += TAG[1] * SCALE
    # what is encrypted
    begin, end = LEFT + sum(size for _, size in OUTER) * SCALE, x - TAG[1] * SCALE
    below = y + HEIGHT + 5
    out += f'<path class="line" d="M{begin + 1} {below}v5H{end - 1}v-5"/>\n'
    if number == 0:
        note = "encrypted; padding goes in front of the tag"
        out += text("note", end + 8, below + 9, note)
    if what.cost:
        out += text("cost", x, y - 9, f"{what.cost} bytes more")
    return out


def picture() -> str:
    """The whole SVG document."""
    widest = max(r.cost for r in ROWS) + sum(s for _, s in OUTER) + TAG[1]
    width, height = 2 * LEFT + widest * SCALE + PACKET, TOP + len(ROWS) * PITCH - 30
    costs = ", ".join(f"{r.name}: {r.cost} bytes" for r in ROWS[1:])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        "<!-- SPDX-License-Identifier: GPL-2.0. Made by docs/frame_picture.py. -->\n"
        f"<title>More than an IP packet in WireGuard: {costs}</title>\n"
        f"<style>\n{STYLE}\n</style>\n{''.join(row(i, r) for i, r in enumerate(ROWS))}</svg>\n"
    )


if __name__ == "__main__":
    print(picture(), end="")
