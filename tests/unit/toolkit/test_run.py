# SPDX-License-Identifier: GPL-2.0
"""Running programs: each way to fail is one line, and the log is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import ToolError
from toolkit.run import run


def line(*argv: str, **options: object) -> str:
    with pytest.raises(ToolError) as error:
        run(list(argv), **options)  # type: ignore[arg-type]
    return str(error.value)


def test_a_missing_program() -> None:
    name = "l2wg-no-such-program"
    assert line(name) == f"{name}: program not found (install the package with {name})"
    assert (
        line(name, hint="apt-get install it") == f"{name}: program not found (apt-get install it)"
    )


def test_a_program_that_takes_too_long() -> None:
    assert line("sleep", "9", timeout=0.2) == "sleep: no answer after 0.2 s: sleep 9"


def test_a_program_that_takes_too_long_leaves_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    said = line("sh", "-c", "echo so far; exec sleep 9", timeout=1, log=log)
    assert said == f"sh: no answer after 1 s: sh -c 'echo so far; exec sleep 9' (log: {log})"
    assert log.read_text() == "+ sh -c 'echo so far; exec sleep 9'\nso far\n"


def test_a_program_that_fails_gives_its_last_line() -> None:
    said = line("sh", "-c", "echo out; echo first >&2; echo last >&2; exit 3")
    assert said == (
        "sh failed with status 3: last "
        "(command: sh -c 'echo out; echo first >&2; echo last >&2; exit 3')"
    )
    assert line("sh", "-c", "exit 4", hint="do this") == "sh failed with status 4 (do this)"


def test_the_log_has_commands_and_output_of_all_runs(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log"
    run(["echo", "one two"], log=log)
    said = line("sh", "-c", "echo three; exit 5", log=log, hint="do this")
    assert said == f"sh failed with status 5: three (do this; log: {log})"
    assert log.read_text() == "+ echo 'one two'\none two\n+ sh -c 'echo three; exit 5'\nthree\n"


def test_no_shell_no_standard_input_and_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run(["echo", "$HOME; *"]).stdout == "$HOME; *\n"
    assert run(["cat"]).stdout == ""
    assert run(["cat"], stdin="text").stdout == "text"
    assert run(["sh", "-c", "echo $LC_ALL $MORE"], env={"MORE": "x"}).stdout == "C x\n"


def test_failure_can_be_an_answer() -> None:
    assert run(["sh", "-c", "exit 7"], check=False).returncode == 7
