# SPDX-License-Identifier: GPL-2.0
"""stdin, stdout and stderr that are missing, or that nobody reads: real processes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.ctl.conftest import Result

L2WGCTL = [sys.executable, "-m", "l2wgctl"]


def shell(line: str) -> Result:
    """Run a line of sh, where `l2wgctl` is this one."""
    text = f'l2wgctl() {{ "{sys.executable}" -m l2wgctl "$@"; }}\n{line}'
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def without_reader() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def without_terminal() -> int:
    """A terminal that has been closed."""
    master, slave = pty.openpty()
    os.close(master)
    return slave


@pytest.mark.parametrize("gone", [without_reader, without_terminal])
@pytest.mark.parametrize("words", [["check", "/nope"], ["frobnicate"], ["check"]])
def test_that_nobody_reads_the_error_makes_no_success(gone: object, words: list[str]) -> None:
    stderr = gone()  # type: ignore[operator]
    try:
        status = subprocess.run([*L2WGCTL, *words], stderr=stderr, check=False).returncode
    finally:
        os.close(stderr)
    assert status == (1 if "/nope" in words else 2)


def test_that_nobody_reads_the_output_is_no_error() -> None:
    assert shell("{ l2wgctl help; echo $? >&2; } | true") == (0, "", "0\n")


def test_a_warning_that_nobody_reads_does_not_end_the_command(tmp_path: Path) -> None:
    """The file's mode is warned of before its text is printed."""
    path = tmp_path / "wg1.conf"
    path.write_text("[Interface]\n# PrivateKey\nListenPort = 5\n")
    path.chmod(0o644)
    stderr = without_reader()
    done = subprocess.run(
        [*L2WGCTL, "strip", str(path)], stdout=subprocess.PIPE, stderr=stderr, check=False
    )
    os.close(stderr)
    assert (done.returncode, done.stdout) == (0, path.read_bytes())


NO_KEY = (
    "l2wgctl: stdin: private key is not 32 bytes in base64 (44 characters, the last one '=', as "
    "'l2wgctl genkey' prints them)\n"
)


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("l2wgctl pubkey <&-", (1, "", NO_KEY)),
        (r"printf '\377' | LC_ALL=C.UTF-8 l2wgctl pubkey", (1, "", NO_KEY)),
        ("l2wgctl genkey >&-", (0, "", "")),
        ("l2wgctl check /nope 2>&-", (1, "", "")),
        ("l2wgctl check /nope <&- >&- 2>&-", (1, "", "")),
        ("l2wgctl genkey >/dev/full", (1, "", "l2wgctl: No space left on device\n")),
    ],
)
def test_missing_streams(line: str, want: tuple[int, str, str]) -> None:
    assert shell(line) == want


def test_what_is_opened_gets_no_missing_number_and_programs_have_all_three() -> None:
    text = (
        "import os, subprocess, sys\n"
        "from l2wgctl import streams\n"
        "streams.prepare()\n"
        "assert os.open('/', os.O_RDONLY) > 2\n"
        "found = subprocess.run(['sh', '-c', ': <&0 >&1 && : >&2'])\n"
        "sys.exit(found.returncode)\n"
    )
    assert shell(f'"{sys.executable}" -c "{text}" <&- >&- 2>&-').status == 0


def test_programs_can_write_when_the_reader_has_gone() -> None:
    """A command of an undo must not die of SIGPIPE because of a line for people."""
    text = (
        "import subprocess, sys\n"
        "from l2wgctl import streams\n"
        "streams.prepare()\n"
        "print('x', file=sys.stderr)\n"
        "sys.exit(subprocess.run(['sh', '-c', 'echo y >&2 && exit 7']).returncode)\n"
    )
    stderr = without_reader()
    status = subprocess.run([sys.executable, "-c", text], stderr=stderr, check=False).returncode
    os.close(stderr)
    assert status == 7
