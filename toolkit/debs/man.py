# SPDX-License-Identifier: GPL-2.0
"""Man pages: docs/man/NAME.SECTION.md to l2wgctl/data/man/NAME.SECTION.

markdown-it-py parses the Markdown; rich needs it anyway, and pandoc would be 150 MB for two pages.
The pages are kept in the repository, so that pip alone installs them, and a test compares them with
their source. Build them with `python -m toolkit.debs.man`.

What the source may hold: a first line `% NAME(SECTION) SOURCE | MANUAL`, headings of two levels,
paragraphs, code blocks, emphasis, code spans, and lists. An item whose first line ends with a
backslash is a term with its description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "man"
TARGET = ROOT / "l2wgctl" / "data" / "man"
_TITLE = re.compile(r"% (\S+)\((\d)\) (.+?) \| (.+)")
_FONTS = {"em": "I", "strong": "B"}


def escape(text: str) -> str:
    """Text as roff takes it: no accidental escapes, no accidental requests, real hyphens."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = text.replace("`", "\\(ga").replace("~", "\\(ti").replace("^", "\\(ha")
    return text.replace("—", "\\(em").replace("…", "\\&...").replace("→", "\\->")


def _protect(text: str) -> str:
    """Protect lines that begin with a dot: they are text here, not requests."""
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def _inline(children: Sequence[Token]) -> str:
    out: list[str] = []
    fonts = ["R"]
    for token in children:
        if token.type == "text":
            out.append(escape(token.content))
        elif token.type == "code_inline":
            out.append(f"\\fB{escape(token.content)}\\f{fonts[-1]}")
        elif token.type in ("softbreak", "hardbreak"):
            out.append("\n")
        elif token.type.endswith("_open") and token.type[:-5] in _FONTS:
            fonts.append(_FONTS[token.type[:-5]])
            out.append(f"\\f{fonts[-1]}")
        elif token.type.endswith("_close") and token.type[:-6] in _FONTS:
            fonts.pop()
            out.append(f"\\f{fonts[-1]}")
        elif token.type not in ("link_open", "link_close"):
            raise ValueError(f"man pages know no {token.type}")
    return "".join(out)


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    depth = 0  # of lists
    fresh = False  # the next paragraph is the first of its item
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            text = _inline(tokens[at + 1].children or [])
            yield f".SH {text.upper()}" if token.tag == "h1" else f".SS {text}"
        elif token.type == "bullet_list_open":
            if depth:
                yield ".RS 4"
            depth += 1
        elif token.type == "bullet_list_close":
            depth -= 1
            if depth:
                yield ".RE"
        elif token.type == "list_item_open":
            fresh = True
        elif token.type == "inline" and tokens[at - 1].type == "paragraph_open":
            children = token.children or []
            breaks = [n for n, child in enumerate(children) if child.type == "hardbreak"]
            if fresh and breaks:
                yield ".TP"
                yield _protect(_inline(children[: breaks[0]]))
                yield _protect(_inline(children[breaks[0] + 1 :]))
            else:
                yield ".IP \\(bu 2" if fresh else (".IP" if depth else ".PP")
                yield _protect(_inline(children))
            fresh = False
        elif token.type in ("fence", "code_block"):
            indent = 4 if not depth else 11
            code = _protect(escape(token.content.rstrip("\n")))
            yield f".PP\n.RS {indent}\n.nf\n{code}\n.fi\n.RE"


def build(text: str, origin: str) -> str:
    """The roff of one page. `origin` names the source in the first line.

    :raises ValueError: the title is missing, or there is something in it that we do not know.
    """
    title, _, body = text.partition("\n")
    found = _TITLE.fullmatch(title)
    if not found:
        raise ValueError(f"{origin}: the first line is not '% NAME(SECTION) SOURCE | MANUAL'")
    name, section, source, manual = found.groups()
    head = [
        '.\\" SPDX-License-Identifier: GPL-2.0',
        f'.\\" Built from {origin} by toolkit/debs/man.py: edit that.',
        f'.TH {name.upper()} {section} "" "{source}" "{manual}"',
        ".nh",
        ".ad l",
    ]
    return "\n".join([*head, *_blocks(MarkdownIt().parse(body))]) + "\n"


def pages() -> dict[str, str]:
    """Name (`l2wgctl.8`) and roff of every page."""
    return {
        path.stem: build(path.read_text(), f"docs/man/{path.name}")
        for path in sorted(SOURCE.glob("*.md"))
    }


def main() -> None:
    """Write the pages."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (TARGET / name).write_text(text)


if __name__ == "__main__":
    main()
