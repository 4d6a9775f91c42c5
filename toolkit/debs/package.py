# SPDX-License-Identifier: GPL-2.0
"""Debian packages: l2wireguard-dkms, l2wgctl and l2wgctl-mesh, by debhelper, from a tree for it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

from l2wgctl.install import FILES as CTL_FILES
from l2wgctl.install import PLACEHOLDER
from toolkit import paths
from toolkit.debs import trees
from toolkit.debs.trees import Origin
from toolkit.errors import ToolError
from toolkit.kmod import build, patching
from toolkit.run import run, say

FOLDER = paths.BUILD / "packages"
DKMS = "l2wireguard-dkms"
CTL = "l2wgctl"
#: The agent's unit; its code is in l2wgctl.
MESH = "l2wgctl-mesh"
_MESH_UNIT = "systemd/l2wg-mesh@.service"

#: Our own files of the module, beside the drivers.
TEMPLATES = {"dkms.conf": "dkms.conf.j2", "Makefile": "dkms.mk.j2"}


def packages(
    given: Sequence[Path] = (), output: Path | None = None, *, lint: bool = False
) -> list[Path]:
    """Build all packages; the same inputs make the same files.

    :param given: kernel trees whose series the DKMS package carries in addition to Debian's.
    :param output: folder for them, ``build/packages`` by default.
    :param lint: have lintian judge them; an error of lintian is an error.
    :raises ToolError: a source cannot be fetched, a patch does not apply, the build fails.
    """
    output = (output or FOLDER).resolve()
    version = paths.version()
    log = paths.LOGS / f"package-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with tempfile.TemporaryDirectory(prefix="l2wg-package-") as temporary:
        work = Path(temporary) / f"l2wg-{version}"
        _lay_out(work, trees.origins(given))
        say("Building the packages")
        run(["dpkg-buildpackage", "--build=binary", "-us", "-uc", "-d"], cwd=work, log=log)
        built = sorted(work.parent.glob("*.deb"))
        if {p.name.split("_")[0] for p in built} != {DKMS, CTL, MESH}:
            raise ToolError(f"dpkg-buildpackage made {[p.name for p in built]}", log=log)
        if lint:
            run(["lintian", "--fail-on", "error", *built], log=log)
        output.mkdir(parents=True, exist_ok=True)
        debs = [_put(deb, output / deb.name) for deb in built]
    log.unlink()
    return debs


def _put(built: Path, target: Path) -> Path:
    temporary = target.with_suffix(".new")
    shutil.copyfile(built, temporary)
    return temporary.replace(target)


def when() -> int:
    """The packages' date in seconds since 1970: $SOURCE_DATE_EPOCH, or the last commit's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    if (paths.ROOT / ".git").exists() and shutil.which("git"):
        commit = run(["git", "-C", paths.ROOT, "log", "-1", "--format=%ct"], check=False)
        if commit.returncode == 0 and commit.stdout.strip():
            return int(commit.stdout)
    return int((paths.ROOT / "pyproject.toml").stat().st_mtime)


def _lay_out(work: Path, origins: list[Origin]) -> None:
    """The source tree: dkms/, python/, files/ and debian/."""
    dkms = work / "dkms"
    say("WireGuard drivers for the module:")
    carried = trees.carry(dkms / "trees", origins)
    lay_out_dkms(dkms, trees.all_series(carried))
    _lay_out_python(work / "python")
    debian = work / "debian"
    debian.mkdir()
    for file in sorted(paths.PACKAGING.iterdir()):
        if not file.name.endswith(".j2") and file.name != CTL:
            shutil.copyfile(file, debian / file.name)
    values: dict[str, object] = {
        "version": paths.version(),
        "date": formatdate(when()),
        "origins": [o.name for o in carried],
    }
    for name in ("changelog", "copyright"):
        (debian / name).write_text(patching.render(f"{name}.j2", **values))
    (debian / "rules").chmod(0o755)
    (debian / f"{DKMS}.dkms").write_text("dkms/dkms.conf\n")
    _lay_out_files(work, debian)
    _install_lists(work, debian)


def lay_out_dkms(dkms: Path, series: list[str]) -> None:
    """Everything except the drivers: what DKMS reads, and our own C."""
    dkms.mkdir(parents=True, exist_ok=True)
    values: dict[str, object] = {"name": build.MODULE, "version": paths.version(), "series": series}
    for name, template in TEMPLATES.items():
        (dkms / name).write_text(patching.render(template, **values))
    (dkms / "Kbuild").write_text(patching.render("Kbuild.j2", debug=False))
    shutil.copyfile(paths.KERNEL / "choose-tree", dkms / "choose-tree")
    for name, text in patching.own_files().items():
        (dkms / name).write_text(text)


def _lay_out_python(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "data")
    shutil.copytree(paths.ROOT / CTL, folder / CTL, ignore=ignore)


def _lay_out_files(work: Path, debian: Path) -> None:
    """The files of l2wgctl's install-files, at the places where Debian wants them."""
    for name, place in CTL_FILES.items():
        folder = work / (MESH if name == _MESH_UNIT else "files")
        target = folder / ("usr/" + place).replace("zsh/site-functions", _ZSH)
        if place.startswith("lib/"):
            target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (paths.ROOT / CTL / "data" / name).read_text()
        target.write_text(text.replace(PLACEHOLDER, f"/usr/bin/{CTL}"))
    program = work / "files/usr/bin" / CTL
    program.parent.mkdir(parents=True)
    shutil.copyfile(paths.PACKAGING / CTL, program)
    program.chmod(0o755)


_ZSH = "zsh/vendor-completions"


def _install_lists(work: Path, debian: Path) -> None:
    """debian/*.install, for the files that are there."""
    source = f"usr/src/{build.MODULE}-{paths.version()}"
    mine = [p.name for p in (work / "dkms").iterdir() if p.name != "dkms.conf"]
    (debian / f"{DKMS}.install").write_text("".join(f"dkms/{n} {source}\n" for n in sorted(mine)))
    lines = [f"files/{p.name}/* {p.name}\n" for p in sorted((work / "files").iterdir())]
    lines += [f"python/{p.name} usr/share/{CTL}\n" for p in sorted((work / "python").iterdir())]
    (debian / f"{CTL}.install").write_text("".join(lines))
    (debian / f"{CTL}.dirs").write_text("etc/l2wg\n")
    (debian / f"{MESH}.install").write_text(f"{MESH}/lib/* lib\n")
