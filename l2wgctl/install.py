# SPDX-License-Identifier: GPL-2.0
"""install-files: manual pages, completions and the systemd units, from the package's data.

pip installs programs, not the files that other programs look for in fixed places.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from .conf.files import CONFIG_DIR, replace
from .errors import L2wgError, Problem, from_os_error
from .output import say
from .updown.steps import Step, run_steps

DATA = Path(__file__).parent / "data"
#: File below DATA, and where it belongs below the prefix.
FILES = {
    "man/l2wgctl.8": "share/man/man8/l2wgctl.8",
    "man/l2wg.conf.5": "share/man/man5/l2wg.conf.5",
    "completions/l2wgctl": "share/bash-completion/completions/l2wgctl",
    "completions/_l2wgctl": "share/zsh/site-functions/_l2wgctl",
    "systemd/l2wg@.service": "lib/systemd/system/l2wg@.service",
    "systemd/l2wg-resolve@.service": "lib/systemd/system/l2wg-resolve@.service",
    "systemd/l2wg-mesh@.service": "lib/systemd/system/l2wg-mesh@.service",
    "systemd/l2wg.target": "lib/systemd/system/l2wg.target",
}
#: Stands in the unit for the path of l2wgctl.
PLACEHOLDER = "@l2wgctl@"
#: What l2wg-mesh@.service may not look into (ProtectHome, systemd.exec(5)).
HIDDEN = ("/home", "/root", "/run/user")


def _program() -> str:
    """The path of the l2wgctl that runs now, for the unit."""
    for name in (sys.argv[0], "l2wgctl"):
        found = shutil.which(name) if Path(name).name == "l2wgctl" else None
        if found:
            return str(Path(found).absolute())
    raise L2wgError(
        "cannot tell where l2wgctl is installed", "call it as l2wgctl, by its path", "install-files"
    )


def _warnings(program: str) -> Iterator[Problem]:
    """Whether a unit cannot start what it names."""
    for path in (Path(program).resolve(), Path(sys.executable).resolve()):
        for hidden in HIDDEN:
            if Path(hidden) in path.parents:
                what = f"l2wg-mesh@.service cannot start {path}: it may not look into {hidden}"
                hint = "install l2wgctl elsewhere: python3 -m venv /opt/l2wg"
                yield Problem("install-files", what, hint, True)
                return


def _guarded(path: Path, change: Callable[[], object]) -> Callable[[], None]:
    def do() -> None:
        try:
            change()
        except OSError as error:
            raise from_os_error(error, str(path), True) from None

    return do


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(str(path), content, mode)


def _writing(path: Path, content: bytes, mode: int = 0o644) -> Callable[[], None]:
    return _guarded(path, lambda: _write(path, content, mode))


def _old(path: Path) -> tuple[bytes, int] | None:
    """What a file holds, and its mode; None: there is none.

    :raises L2wgError: it cannot be read.
    """
    try:
        return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, str(path)) from None


def plan_install(prefix: Path, destdir: Path, program: str) -> Iterator[Step]:
    """Steps that install. A file that was there comes back if a later step fails."""
    for name, place in FILES.items():
        path = destdir / prefix.relative_to("/") / place
        shown = shlex.quote(str(path))
        text = (DATA / name).read_text(encoding="utf-8").replace(PLACEHOLDER, program)
        undo = Step(f"rm {shown}", _guarded(path, path.unlink))
        old = _old(path)
        if old is not None:
            undo = Step(f"restore {shown}", _writing(path, *old))
        make = _writing(path, text.encode())
        yield Step(f"install -Dm644 {DATA / name} {shown}", make, (undo,))
    folder = destdir / CONFIG_DIR.relative_to("/")
    if not folder.exists():
        yield Step(
            f"install -dm700 {shlex.quote(str(folder))}",
            _guarded(folder, lambda: folder.mkdir(mode=0o700, parents=True)),
        )


def plan_remove(prefix: Path, destdir: Path) -> Iterator[Step]:
    """Steps that remove what has been installed; the configuration stays."""
    for place in FILES.values():
        path = destdir / prefix.relative_to("/") / place
        if path.exists():
            yield Step(f"rm {shlex.quote(str(path))}", _guarded(path, path.unlink))


def cmd_install_files(args: argparse.Namespace) -> int:
    """Install or remove the files."""
    prefix = Path(args.prefix)
    if not prefix.is_absolute():
        raise L2wgError(f"prefix is not an absolute path: '{prefix}'", None, "install-files")
    destdir = Path(args.destdir)
    if args.remove:
        run_steps(plan_remove(prefix, destdir), args.dry_run)
    else:
        program = _program()
        run_steps(plan_install(prefix, destdir, program), args.dry_run)
        say(_warnings(program))
    return 0
