# SPDX-License-Identifier: GPL-2.0
"""What a user meets has a word in the documents, and what they show is so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from toolkit import needs, paths

DOCS = [
    *(paths.ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((paths.ROOT / "docs").rglob("*.md")),
]
REFERENCE = (paths.ROOT / "docs/reference.md").read_text()
ALL = "\n".join(p.read_text() for p in DOCS)
DEVICE = "\n".join(p.read_text() for p in sorted(paths.KERNEL.glob("l2wg_*.[ch]")))

TASKS = Collection.from_module(tasks)
OPTIONS = [
    (name, argument.name.replace("_", "-"))
    for name in sorted(TASKS.task_names)
    for argument in TASKS[name].get_arguments()
]
PICTURES = sorted((paths.ROOT / "docs").glob("*_picture.py"))
PARAMETERS = re.findall(r"^module_param(?:_named|_cb)?\((\w+),", DEVICE, re.MULTILINE)
COUNTERS = re.findall(r'\[L2WG_[RT]X_\w+\]\s*=\s*"(\w+)"', DEVICE)


def test_there_is_something_to_document() -> None:
    assert {"build-module", "demo", "lab", "patch", "clean"} <= set(TASKS.task_names)
    assert {("patch", "tree"), ("build-module", "kernel")} <= set(OPTIONS)
    assert {"plain", "batch"} <= set(PARAMETERS)
    assert len(COUNTERS) == len(set(re.findall(r"\bL2WG_[RT]X_\w+", DEVICE))) > 0


@pytest.mark.parametrize("name", sorted(TASKS.task_names))
def test_a_task(name: str) -> None:
    assert re.search(rf"\./inv {re.escape(name)}(?![\w-])", ALL), f"./inv {name}"


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_option(name: str, option: str) -> None:
    """In the section in which the task is."""
    # a section ends at the next heading
    sections = re.split(r"^#+ ", ALL, flags=re.MULTILINE)
    about = [s for s in sections if re.search(rf"\./inv {re.escape(name)}(?![\w-])", s)]
    # a positional one is shown as ./inv TASK NAME
    dashes = "-" if len(option) == 1 else "--"
    usage = rf"{dashes}{re.escape(option)}(?![\w-])|\./inv {re.escape(name)} {option.upper()}\b"
    assert any(re.search(usage, s) for s in about), f"./inv {name} --{option}"


#: A command of ours in running text, and what stands behind it.
COMMAND = re.compile(r"\./inv ([a-z][a-z-]+)((?:[ =][^ `\"')\n]+)*)")


def commands() -> Iterator[tuple[str, str, str]]:
    """Every `./inv X ...` of the checkout, wherever it stands: (file, X, what follows)."""
    for folder in ("", "docs", "toolkit", "tests", "l2wgctl", "kernel", "packaging", ".ci"):
        top = paths.ROOT / folder
        for file in sorted(top.rglob("*") if folder else top.iterdir()):
            named = file.suffix in (".py", ".md", ".sh", ".c", ".h", ".toml", ".j2", "")
            if file.is_file() and named and "__pycache__" not in file.parts:
                for name, rest in COMMAND.findall(file.read_text(errors="replace")):
                    yield str(file.relative_to(paths.ROOT)), name, rest


def test_a_command_that_is_named_exists() -> None:
    """In code, in hints and in documents: a task, with the options that it is given."""
    wrong = []
    found = list(commands())
    for file, name, rest in found:
        options = {f"--{option}" for task, option in OPTIONS if task == name}
        given = re.findall(r"(?<= )--[a-z][a-z-]*", rest.split(" -- ")[0])
        if name not in TASKS.task_names or not set(given) <= options:
            wrong.append(f"{file}: ./inv {name}{rest}")
    assert wrong == []
    assert len({name for _, name, _ in found}) == len(TASKS.task_names)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_module_parameter(name: str) -> None:
    assert f"`modprobe l2wireguard {name}=" in REFERENCE


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter(name: str) -> None:
    rows = [line for line in REFERENCE.splitlines() if line.startswith("| `")]
    assert any(f"`{name}`" in row.split("|")[1] for row in rows), f"no row for {name}"


def test_the_packages() -> None:
    table = REFERENCE.split("| for | Debian packages |")[1].split("\n\n")[0]
    listed = set(
        re.findall(r"[a-z0-9][a-z0-9.+-]+", " ".join(re.findall(r"\| ([^|]+) \|$", table, re.M)))
    )
    assert {name for names in needs.NEEDS.values() for name in names} - listed == set()


def test_the_map_has_every_room() -> None:
    """CONTRIBUTING.md names each folder of l2wgctl, of the toolkit and of the tests."""
    page = DOCS[1].read_text()
    rooms = [
        f"{top}/{folder.name}/"
        for top in ("toolkit", "tests")
        for folder in sorted((paths.ROOT / top).iterdir())
        if any(folder.glob("*.py"))
    ]
    rooms += [f"{file.parent.name}/" for file in (paths.ROOT / "l2wgctl").glob("*/__init__.py")]
    assert {"toolkit/guest/", "tests/vm/", "conf/"} <= set(rooms)
    assert [room for room in rooms if f"`{room}`" not in page] == []


def test_the_readme_is_short() -> None:
    """One or two screens; the rest has its own pages."""
    assert len((paths.ROOT / "README.md").read_text().split()) <= 1200


def drawn(script: Path) -> str:
    return subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("script", PICTURES, ids=lambda p: str(p.name))
def test_a_picture_is_what_its_script_draws(script: Path) -> None:
    name = script.name.replace("_picture.py", ".svg")
    assert drawn(script) == script.with_name(name).read_text()


def test_the_picture_of_a_frame_has_the_costs() -> None:
    picture = drawn(paths.ROOT / "docs/frame_picture.py")
    assert [int(n) for n in re.findall(r">(\d+) bytes more<", picture)] == [14, 38, 50]


def test_the_picture_of_the_path_has_functions_that_the_patches_call() -> None:
    shown = set(re.findall(r">(l2wg_\w+)<", drawn(paths.ROOT / "docs/path_picture.py")))
    added = "".join(p.read_text() for p in paths.PATCHES.glob("*.patch"))
    assert len(shown) == 4
    assert [name for name in shown if not re.search(rf"^\+.*\b{name}\(", added, re.M)] == []


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    # a link in a heading counts by its text
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "x.md"
    page.write_text("# A `b.py`: c, D-e\n\n```\n# not one\n```\n\n## See [f](g.md)\n\n    # code\n")
    assert anchors(page) == {"a-bpy-c-d-e", "see-f"}


@pytest.mark.parametrize("page", DOCS, ids=lambda p: str(p.name))
def test_links_lead_somewhere(page: Path) -> None:
    """The file is there, and the heading in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", DOCS, ids=lambda p: str(p.name))
def test_files_that_are_named_exist(page: Path) -> None:
    names = re.findall(
        r"`((?:kernel|patches|l2wgctl|packaging|toolkit|tests|docs)/[\w./-]*)", page.read_text()
    )
    assert [n for n in names if not (paths.ROOT / n).exists()] == []
