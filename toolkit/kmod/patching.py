# SPDX-License-Identifier: GPL-2.0
"""Put our patches and files into a WireGuard driver, and take them out again."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import jinja2

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.source import DRIVER, tree_version
from toolkit.run import run, say

#: A driver gets all C files of kernel/, what kbuild needs to know of them, the header for programs
#: under another name, and this template.
VERSION_HEADER = "l2wg_version.h"
UAPI_HEADER = "l2wg_uapi.h"


def series() -> list[Path]:
    """The patches, in the order in which they apply."""
    return sorted(paths.PATCHES.glob("[0-9][0-9][0-9][0-9]-*.patch"))


def own_files() -> dict[str, str]:
    """What we add to the driver: file name -> content."""
    ours = sorted([*paths.KERNEL.glob("l2wg_*.[ch]"), *paths.KERNEL.glob("l2wg_*.mk")])
    files = {p.name: p.read_text() for p in ours}
    files[UAPI_HEADER] = (paths.KERNEL / "uapi/l2wg.h").read_text()
    files[VERSION_HEADER] = render(f"{VERSION_HEADER}.j2", version=paths.version())
    return files


def render(template: str, **values: object) -> str:
    """A Jinja2 template of kernel/ or packaging/, filled in; an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([paths.KERNEL, paths.PACKAGING]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def add_to(driver: Path, root: Path, kernel: str) -> None:
    """Patch the driver below ``root`` and add our files to it.

    :param driver: ``root / DRIVER``; give a copy, because a failure leaves it half patched.
    :param kernel: for messages, ``Linux 5.10.262``.
    :raises ToolError: a patch does not apply, with its name, file and hunk.
    """
    for patch in series():
        _apply(patch, root, kernel, reverse=False)
    for name, text in own_files().items():
        (driver / name).write_text(text)


def remove_from(driver: Path, root: Path, kernel: str) -> None:
    """Undo add_to() on a copy.

    :raises ToolError: the driver or our files in it have been changed since.
    """
    for name, text in own_files().items():
        if not (driver / name).exists() or (driver / name).read_text() != text:
            raise ToolError(
                f"{DRIVER / name} is not from this l2wg: it was changed, removed or comes from "
                "another version",
                "take it out with the l2wg that put it in",
            )
        (driver / name).unlink()
    for patch in reversed(series()):
        _apply(patch, root, kernel, reverse=True)


def _apply(patch: Path, root: Path, kernel: str, *, reverse: bool) -> None:
    done = run(
        [
            "patch",
            "--directory",
            root,
            "--strip=1",
            "--fuzz=0",
            "--force",
            "--no-backup-if-mismatch",
            "--reject-file=-",
            *(["--reverse"] if reverse else ["--forward"]),
            "--input",
            patch,
        ],
        check=False,
    )
    if done.returncode:
        raise ToolError(_rejected(patch, done.stdout, kernel, reverse=reverse))


def _rejected(patch: Path, output: str, kernel: str, *, reverse: bool) -> str:
    """Which hunk of which file it was, from what patch(1) prints."""
    file = hunk = "?"
    for line in output.splitlines():
        if match := re.match(r"(?:checking|patching) file '?([^']+?)'?$", line):
            file = match[1]
        elif match := re.match(r"Hunk #(\d+) FAILED", line):
            hunk = match[1]
            break
        elif match := re.match(r"\|--- a/(\S+)", line):
            # patch quotes this of a patch whose file it has not found
            return f"patches/{patch.name}: {match[1]} is not in {kernel}"
    verb = "cannot be taken out of" if reverse else "does not apply to"
    return f"patches/{patch.name}: hunk {hunk} of {file} {verb} {kernel}"


def patch_tree(tree: Path, *, reverse: bool = False) -> list[str]:
    """Put l2wg into a kernel source tree in place, or take it out.

    This works on a copy of the driver; the tree changes only if everything has succeeded.

    :returns: names of the files that were changed, added or removed.
    :raises ToolError: it is no kernel tree, is patched already (or not patched), or a patch does
    not
        apply.
    """
    driver = tree / DRIVER
    version = tree_version(tree)
    if not (driver / "main.c").exists() or version is None:
        raise ToolError(f"{tree}: not a kernel source tree with {DRIVER}")
    present = (driver / "l2wg_dev.c").exists()
    if present and not reverse:
        raise ToolError(f"{tree}: has l2wg already", "take it out first: --reverse")
    if not present and reverse:
        raise ToolError(f"{tree}: has no l2wg")
    with tempfile.TemporaryDirectory(prefix="l2wg-patch-") as temporary:
        root = Path(temporary)
        copy = root / DRIVER
        shutil.copytree(driver, copy)
        (remove_from if reverse else add_to)(copy, root, f"Linux {version}")
        return _carry_over(copy, driver)


def _carry_over(copy: Path, driver: Path) -> list[str]:
    """Make ``driver`` equal to ``copy``, touching only the files that differ."""
    after = {p.relative_to(copy) for p in copy.rglob("*") if p.is_file()}
    before = {p.relative_to(driver) for p in driver.rglob("*") if p.is_file()}
    changed = []
    for name in sorted(after):
        new = (copy / name).read_bytes()
        if name in before and (driver / name).read_bytes() == new:
            continue
        changed.append(str(name))
        temporary = driver / f".{name.name}.l2wg"
        temporary.write_bytes(new)
        if name in before:
            temporary.chmod((driver / name).stat().st_mode & 0o7777)
        temporary.replace(driver / name)
    ours = set(own_files())
    for name in sorted(before - after):
        if str(name) in ours:
            (driver / name).unlink()
            changed.append(str(name))
    for file in changed:
        say(f"  {DRIVER / file}")
    return changed
