# SPDX-License-Identifier: GPL-2.0
"""PrivateKeyFile and PresharedKeyFile: keys in files of their own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ConfigError, L2wgError, Problem
from ..keys import read_key_file
from ..model import SecretKey
from .parse import Config, KeyFile
from .together import own_key


def located(path: str, where: str) -> str:
    """A key file's path; a relative one counts from the folder of the configuration `where`."""
    return str(Path(where).parent / path)


def read(path: str, where: str, name: str) -> SecretKey:
    """The key in a file.

    :raises L2wgError: it cannot be read, or holds no key.
    """
    key = read_key_file(located(path, where), name)
    if key.is_zero:
        raise L2wgError("is empty", "write a key into it", located(path, where))
    return key


def fill(config: Config) -> Config:
    """The configuration with the keys from their files, and a warning for each that others can
    read.

    :raises ConfigError: there are files without a key; it has all of them.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    device = config.device
    peers = list(device.peers)
    for file in config.key_files:
        try:
            key = read(file.path, config.where, file.kind)
        except L2wgError as error:
            found = error.problems[0]
            what = f"{file.key} {found.where}: {found.what}"
            problems.append(_problem(config, file, what, found.hint, "key-file"))
            continue
        path = located(file.path, config.where)
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & 0o077:
            what = f"{file.key} {path} is open to others (mode {mode:04o})"
            warning = _problem(config, file, what, f"chmod 600 {path}", "mode")
            warnings.append(warning._replace(warning=True))
        if file.peer is None:
            device = device._replace(private_key=key)
        else:
            peers[file.peer] = peers[file.peer]._replace(preshared_key=key)
    device = device._replace(peers=tuple(peers))
    if config.link.private_key_file is not None and device.private_key is not None:
        lines = {peer.public_key: line for peer, line in zip(peers, config.peer_lines)}
        problems += own_key(device.private_key, lines, config.where)
    if problems:
        raise ConfigError(problems)
    return config._replace(device=device, warnings=config.warnings + tuple(warnings))


def _problem(config: Config, file: KeyFile, what: str, hint: str | None, code: str) -> Problem:
    return Problem(f"{config.where}:{file.line}:1", what, hint, False, file.line, 1, code)
