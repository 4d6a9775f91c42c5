#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws docs/sites.svg: two sites that are one Ethernet, by a bridge and a link on each host.

docs/sites_picture.py >docs/sites.svg
"""

from __future__ import annotations

from frame_picture import STYLE, text

WIDTH, HEIGHT = 880, 244
MIDDLE = WIDTH // 2
#: Pixels from the left edge, for the left site; the right one is its mirror image.
STATION, HOST, HOST_END = (16, 104), 142, 390
BRIDGE = (192, 148)  # left edge and width
PORT = 76  # width of a port
ROWS = {"site": 8, "bridge": 40, "ports": 92, "underlay": 164}
BOX = 34  # height of a box

MORE_STYLE = """
.host { fill: none; stroke-dasharray: 5 4 }
.wire { stroke: #1a7f37; stroke-width: 3; fill: none }
.tunnel { stroke: #b35900; stroke-width: 3; fill: none }
.centred { text-anchor: middle }"""


class Site:
    """One host and the machines behind it."""

    def __init__(self, name: str, last: int, *, mirrored: bool) -> None:
        self.name, self.last, self.mirrored = name, last, mirrored

    def x(self, left: int, width: int = 0) -> int:
        """Where something is drawn that is `left` pixels from the edge in the left site."""
        return WIDTH - left - width if self.mirrored else left

    def box(self, kind: str, left: int, y: int, width: int, label: str) -> str:
        """A labelled rectangle."""
        x = self.x(left, width)
        return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BOX}"/>\n' + text(
            "", x + width / 2, y + BOX / 2 + 5, label
        )

    def line(self, kind: str, *points: tuple[int, int]) -> str:
        """A line through points, whose x is that of the left site."""
        path = "L".join(f"{self.x(x)} {y}" for x, y in points)
        return f'<path class="{kind}" d="M{path}"/>\n'

    def __str__(self) -> str:
        ports, bridge, under = ROWS["ports"], ROWS["bridge"], ROWS["underlay"]
        first, width = BRIDGE
        eth1, wg1 = first - PORT // 2, first + width - PORT // 2
        machine = STATION[1] - STATION[0]
        out = (
            f'<rect class="host" x="{self.x(HOST, HOST_END - HOST)}" y="{ROWS["site"]}" '
            f'width="{HOST_END - HOST}" height="{under + BOX + 12 - ROWS["site"]}"/>\n'
            + text("name centred", self.x((HOST + HOST_END) // 2), ROWS["site"] + 22, self.name)
        )
        for y in (bridge, ports + 44):
            level = y + BOX // 2
            out += self.line(
                "wire", (STATION[1], level), (123, level), (123, ports + 17), (eth1, ports + 17)
            )
            out += self.box("outer", STATION[0], y, machine, "machine")
        for port in (eth1, wg1):
            at = port + PORT // 2
            out += self.line("wire", (at, bridge + BOX), (at, ports))
        out += self.box("packet", first, bridge, width, f"br0  192.168.157.{self.last}")
        out += self.box("packet", eth1, ports, PORT, "eth1")
        out += self.box("more", wg1, ports, PORT, "wg1")
        at = wg1 + PORT // 2
        out += self.line("tunnel", (at, ports + BOX), (at, under))
        out += self.line("tunnel", (wg1 + PORT, under + BOX // 2), (MIDDLE, under + BOX // 2))
        return out + self.box("outer", wg1, under, PORT, "eth0")


def picture() -> str:
    """The whole SVG document."""
    sites = (Site("host A", 1, mirrored=False), Site("host B", 2, mirrored=True))
    under = ROWS["underlay"] + BOX // 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        "<!-- SPDX-License-Identifier: GPL-2.0. Made by docs/sites_picture.py. -->\n"
        "<title>Two sites, one Ethernet: each host bridges eth1 and wg1</title>\n"
        f"<style>\n{STYLE}{MORE_STYLE}\n</style>\n"
        + "".join(map(str, sites))
        + text("note centred", MIDDLE, under - 14, "Internet")
        + text("note centred", MIDDLE, under + 24, "UDP 51820")
        + text(
            "note centred", MIDDLE, HEIGHT - 4, "All machines and both bridges are one Ethernet."
        )
        + "</svg>\n"
    )


if __name__ == "__main__":
    print(picture(), end="")
