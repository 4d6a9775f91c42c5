# SPDX-License-Identifier: GPL-2.0
"""`bridge` of several Debian releases, on any machine: what its people type must work with each.

It is unpacked, not installed, with the libraries of its own release and their loader.
"""

from __future__ import annotations

from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive, Package, unpack

#: Debian 12 and 13, and the version of iproute2 there.
RELEASES = {"bookworm": "6.1.0", "trixie": "6.15.0"}
#: All that `bridge` is linked with.
PACKAGES = ("iproute2", "libc6", "libcap2", "libmnl0")
WRAPPER = """\
#!/bin/sh
here=$(dirname "$0")
exec "$here/{loader}" --library-path "{libraries}" "$here/{program}" "$@"
"""


def bridge(release: str) -> Path:
    """A folder for PATH that has the `bridge` of a Debian release in it, and nothing else to run.

    :raises ToolError: a package is not in the cache and cannot be fetched.
    """
    target = paths.cache() / "iproute2" / release
    if not target.exists():
        archive = Archive(release)
        debs = [archive.fetch(_newest(archive, name)) for name in PACKAGES]
        target.parent.mkdir(exist_ok=True)
        unpack(debs, target, _wrap)
    return target


def _newest(archive: Archive, name: str) -> Package:
    """A package as the release has it, without what was backported to it later."""
    for package in archive.find(f"^{name}$"):
        if "~bpo" not in package.version:
            return package
    raise ToolError(f"apt: {archive.codename} does not serve {name}")


def _wrap(folder: Path) -> None:
    def only(pattern: str) -> Path:
        found = sorted(path for path in folder.glob(pattern) if not path.is_symlink())
        if not found:
            raise ToolError(f"iproute2: there is no {pattern} in {', '.join(PACKAGES)}")
        return found[0].relative_to(folder)

    libraries = {only(f"**/{name}.so.*").parent for name in ("libc", "libcap", "libmnl")}
    wrapper = folder / "bridge"
    wrapper.write_text(
        WRAPPER.format(
            loader=only("**/ld-linux*.so.*"),
            libraries=":".join(f"$here/{path}" for path in sorted(libraries)),
            program=only("**/*bin/bridge"),
        )
    )
    wrapper.chmod(0o755)
