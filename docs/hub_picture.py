#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws docs/hub.svg: a hub and three sites, one of which claims another's address.

docs/hub_picture.py >docs/hub.svg
"""

from __future__ import annotations

from frame_picture import STYLE, text

WIDTH, HEIGHT = 880, 264
MIDDLE = WIDTH // 2
BOX, HUB = (210, 34), (330, 34)  # width and height of a box
TOP, BOTTOM = 40, 168
SITES = ((150, "oslo", 2), (MIDDLE, "bergen", 3), (WIDTH - 150, "tromso", 4))

MORE_STYLE = """
.tunnel { stroke: #b35900; stroke-width: 3; fill: none }
.refused { stroke: #cf222e; stroke-width: 3; fill: none; stroke-dasharray: 6 5 }
.mac { font-size: 12px }
.centred { text-anchor: middle }"""


def box(kind: str, x: float, y: float, size: tuple[int, int], label: str) -> str:
    """A labelled rectangle, by its middle and its upper edge."""
    width, height = size
    return (
        f'<rect class="{kind}" x="{x - width / 2:g}" y="{y}" width="{width}" height="{height}"/>\n'
        + text("", x, y + height / 2 + 5, label)
    )


def mac(last: int) -> str:
    """The address of a host."""
    return f"02:ca:fe:f0:0e:0{last}"


def picture() -> str:
    """The whole SVG document."""
    out = text("name centred", MIDDLE, 22, "hub: Switch = yes")
    out += box("packet", MIDDLE, TOP, HUB, "wg1 (l2wgswitch)  192.168.157.1")
    for x, name, last in SITES:
        lands = MIDDLE + (x - MIDDLE) * HUB[0] / 2 / (SITES[2][0] - MIDDLE) * 0.9
        kind = "refused" if last == 4 else "tunnel"
        out += f'<path class="{kind}" d="M{x} {BOTTOM}L{lands:g} {TOP + BOX[1]}"/>\n'
        out += box("more" if last != 4 else "outer", x, BOTTOM, BOX, f"{name}  wg1 (l2wireguard)")
        claims = f"claims {mac(3)}: refused" if last == 4 else f"AllowedMACs {mac(last)}"
        out += text("note centred", x, BOTTOM + 56, claims)
    note = "Relay = yes: frames pass between the sites. What is bound to a key is its alone."
    out += text("note centred", MIDDLE, HEIGHT - 4, note)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        "<!-- SPDX-License-Identifier: GPL-2.0. Made by docs/hub_picture.py. -->\n"
        "<title>A hub and three sites: what is bound to a key is that key's alone</title>\n"
        f"<style>\n{STYLE}{MORE_STYLE}\n</style>\n{out}</svg>\n"
    )


if __name__ == "__main__":
    print(picture(), end="")
