# SPDX-License-Identifier: GPL-2.0
"""Debian's archive: any release's packages, from this machine's mirror, through apt.

apt runs with a state folder of its own in the cache, so it neither uses nor changes the machine's
lists, sources and status, and may be of another architecture. It checks signatures as always.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from debian.deb822 import Packages
from debian.debian_support import Version

from toolkit import paths
from toolkit.arch import architecture
from toolkit.errors import ToolError
from toolkit.run import run, say

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_FRESH = 24 * 3600  # seconds
SETTINGS = Path("/etc/apt")

#: What a release serves besides its own suite: (suffix of the suite, from the security mirror)
SUITES = (("", False), ("-security", True), ("-updates", False), ("-backports", False))


@dataclass(frozen=True)
class Package:
    """A binary package of one version, as an archive's index has it."""

    name: str
    version: str
    depends: str = ""

    @property
    def filename(self) -> str:
        """How apt names the file: an epoch's colon is quoted."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_"


@functools.cache
def mirrors() -> tuple[str, str]:
    """This machine's mirrors: (Debian, Debian security), as its own apt is configured.

    :raises ToolError: no source of this machine's apt is Debian's.
    """
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(LABEL)"]
    # Lists that have been fetched have a label. If one of the two is not among them, come all that
    # are configured, by name, because an update may have fetched only some of them.
    listing = (
        line
        for more in ([], ["--no-release-info"])
        for line in run([*ask, *more, "Created-By: Packages"]).stdout.splitlines()
    )
    main = security = ""
    for uri, release, label in (line.split("|") for line in listing):
        # Without a label, the suite's name decides.
        known = label if label.startswith("Debian") else ""
        if known == "Debian-Security" or (not known and release.endswith("-security")):
            security = security or uri
        elif known == "Debian" or (not known and uri.rstrip("/").endswith("/debian")):
            main = main or uri
        if main and security:
            break
    if not main:
        raise ToolError(
            "apt: none of this machine's package sources is Debian's",
            "add one, see sources.list(5)",
        )
    return main, security


class Archive:
    """One Debian release (``bullseye``, ``bookworm``, ...) as its mirror serves it.

    :ivar foreign: the architecture whose packages these are; None: this machine's.
    """

    def __init__(self, codename: str, foreign: str | None = None) -> None:
        self.codename = codename
        self.foreign = foreign
        self.state = paths.cache() / "apt" / "-".join(filter(None, [codename, foreign]))

    def __repr__(self) -> str:
        return f"Archive({self.codename!r}, {self.foreign!r})"

    @property
    def architecture(self) -> str:
        """Debian's name of the architecture whose packages these are."""
        return self.foreign or architecture()

    def _options(self) -> list[str]:
        options: dict[str, str | Path] = {
            "Dir::State": self.state,
            "Dir::State::Lists": self.state / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": self.state / "cache",
            # What apt makes of the lists. A container's apt may be set up to keep none, and then
            # each of its programs takes half a second to make it again.
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Etc::SourceList": self.state / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Get::List-Cleanup": "false",
            "Acquire::Languages": "none",
            # Old releases' Release files have expired; the signature still holds.
            "Acquire::Check-Valid-Until": "false",
        }
        if self.foreign:
            options |= {"APT::Architecture": self.foreign, "APT::Architectures": self.foreign}
        if os.geteuid() == 0:
            # apt's own unprivileged user may not write into root's cache folder.
            options["APT::Sandbox::User"] = "root"
        return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]

    def sources(self) -> str:
        """The release's suites as lines of a sources.list(5).

        :raises ToolError: Debian's keys are not installed.
        """
        if not KEYRING.exists():
            raise ToolError(f"{KEYRING} is missing", "apt-get install debian-archive-keyring")
        main, security = mirrors()
        # only the packages: this machine's apt may fetch more (apt-file's Contents)
        options = f"[signed-by={KEYRING} target=Packages]"
        rows = [
            f"deb {options} {security if secure else main} {self.codename}{suffix} main"
            for suffix, secure in SUITES
            if (security or not secure) and self._serves(suffix)
        ]
        return "\n".join(rows) + "\n"

    def _serves(self, suffix: str) -> bool:
        # these have left the mirror; sid is one suite
        left = {"bullseye": ("-updates", "-backports"), "sid": tuple(s for s, _ in SUITES if s)}
        return suffix not in left.get(self.codename, ())

    def update(self) -> None:
        """Fetch the package lists if they are older than a day; keep old ones without a network.

        :raises ToolError: there are no lists and the mirror cannot be reached.
        """
        if self._settled():
            return
        with paths.alone(self.state):
            self._update(self.sources())

    def _settled(self) -> bool:
        """The lists are from today, and nobody has set up this machine's apt anew since.

        To ask apt itself takes it a second each time.
        """
        try:
            fetched = (self.state / "updated").stat().st_mtime
            (self.state / "sources.list").stat()
            settings = [
                p.stat().st_mtime for p in (SETTINGS, *SETTINGS.glob("*"), *SETTINGS.glob("*/*"))
            ]
        except OSError:
            return False
        return time.time() - fetched < LISTS_FRESH and max(settings) < fetched

    def _update(self, sources: str) -> None:
        stamp = self.state / "updated"
        same = (self.state / "sources.list").exists() and (
            self.state / "sources.list"
        ).read_text() == sources
        if same and stamp.exists() and time.time() - stamp.stat().st_mtime < LISTS_FRESH:
            return
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "sources.list").write_text(sources)
        say(f"Fetching {self.state.name}'s package lists")
        done = run(["apt-get", *self._options(), "update", "-qq", "--error-on=any"], check=False)
        if done.returncode == 0:
            stamp.touch()
        elif stamp.exists():
            say(f"The mirror cannot be reached: going on with the lists of {_date(stamp)}")
        else:
            last = (done.stderr.strip().splitlines() or ["apt-get update failed"])[-1]
            raise ToolError(f"apt: {self.codename}: {last}", "is the package mirror reachable?")

    def find(self, pattern: str) -> list[Package]:
        """Packages whose name matches the regular expression, every version, newest first."""
        self.update()
        known = self._remembered()
        if pattern not in known:
            found = [astuple(p) for p in self._search(pattern)]
            with paths.alone(self.state / "found.json"):
                known = {**self._remembered(), pattern: found}
                draft = self.state / "found.new"
                draft.write_text(json.dumps([self._lists_date(), known]))
                draft.replace(self.state / "found.json")
        return [Package(*fields) for fields in known[pattern]]

    def _search(self, pattern: str) -> list[Package]:
        names = run(
            ["apt-cache", *self._options(), "search", "--names-only", pattern]
        ).stdout.splitlines()
        if not names:
            return []
        shown = run(["apt-cache", *self._options(), "show", *(n.split()[0] for n in names)]).stdout
        found = {
            Package(p["Package"], p["Version"], p.get("Depends", ""))
            for p in Packages.iter_paragraphs(shown, use_apt_pkg=False)
        }
        return sorted(found, key=lambda p: (Version(p.version), p.name), reverse=True)

    def _lists_date(self) -> float:
        stamp = self.state / "updated"
        return stamp.stat().st_mtime if stamp.exists() else 0

    def _remembered(self) -> dict[str, Any]:
        """What was found since the lists were last fetched whole: apt takes seconds to answer."""
        try:
            date, known = json.loads((self.state / "found.json").read_text())
        except (OSError, ValueError):
            return {}
        return dict(known) if date == self._lists_date() else {}

    def get(self, name: str, version: str | None = None) -> Package:
        """One package by name, of that version or the newest.

        :raises ToolError: the release does not serve it.
        """
        for package in self.find(f"^{name.replace('.', '[.]').replace('+', '[+]')}$"):
            if version in (None, package.version):
                return package
        what = f"{name} {version}" if version else name
        raise ToolError(f"apt: {self.codename} does not serve {what}")

    def fetch(self, package: Package) -> Path:
        """The package's file, downloaded if it is not in the cache.

        :raises ToolError: it is not in the cache and cannot be downloaded.
        """
        store = paths.cache() / "debs"
        for name in (self.architecture, "all"):
            if (file := store / f"{package.filename}{name}.deb").exists():
                return file
        store.mkdir(parents=True, exist_ok=True)
        say(f"Downloading {package.name} {package.version}")
        with tempfile.TemporaryDirectory(dir=store) as work:
            run(
                ["apt-get", *self._options(), "download", f"{package.name}={package.version}"],
                cwd=Path(work),
                show=True,
                hint="is the package mirror reachable?",
            )
            (file,) = Path(work).glob("*.deb")
            return file.rename(store / file.name)


def _date(path: Path) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))


def unpack(debs: Sequence[Path], target: Path, finish: Callable[[Path], None]) -> Path:
    """Unpack packages over each other into ``target``, unless that is there already.

    :param finish: called with the folder before it becomes visible under its name.
    """
    with paths.alone(target):
        if not target.exists():
            say(f"Unpacking {', '.join(d.name.split('_')[0] for d in debs)}")
            with paths.built_whole(target) as work:
                for deb in debs:
                    run(["dpkg-deb", "--extract", deb, work])
                finish(work)
    return target
