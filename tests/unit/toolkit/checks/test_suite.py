# SPDX-License-Identifier: GPL-2.0
"""./inv test: every part runs, every failure counts, and every test has its guest."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit import needs, paths
from toolkit.checks import guests, outcome, suite
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.own import Own
from toolkit.lab import lab as labs
from toolkit.lab.lab import Lab, Labs


class Ran(list[str]):
    """What ran, by name; and which files were in guests."""

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}

    def part(self, name: str) -> Outcome:
        self.append(name)
        return Outcome(name, 1, 0, seconds=1.0)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ran:
    """Nothing does anything but say that it ran."""
    seen = Ran()

    def in_guest(lab: Lab, select: Sequence[str], folder: Path, **given: object) -> Outcome:
        seen.files.setdefault(str(given["kernel"]), []).extend(select)
        return seen.part(folder.name)

    monkeypatch.setattr(suite, "unit", lambda: seen.part("unit"))
    monkeypatch.setattr(suite, "fuzz", lambda: seen.part("fuzz"))
    monkeypatch.setattr(guests, "run", in_guest)
    monkeypatch.setattr(suite, "netns_selftest", lambda *_: seen.part("netns.sh"))
    monkeypatch.setattr(suite, "two_machines", lambda *_: seen.part("two machines"))
    monkeypatch.setattr(labs, "make", lambda _: SimpleNamespace(kvm_works=lambda: False))
    monkeypatch.setattr(labs.kernels, "resolve", lambda name: Kernel(name, Path("/")))
    monkeypatch.setattr(needs, "missing", lambda _: [])
    monkeypatch.setattr(suite.own, "cached", lambda _: None)
    monkeypatch.setenv("CI", "true")  # nothing is built in the background
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    return seen


NUMBER = len(guests.shares(guests.files()))
GUESTS = sorted(
    [*(f"vm-{i}-5.10" for i in range(NUMBER)), f"vm-{NUMBER}-newest", "netns.sh", "two machines"]
)


@pytest.mark.parametrize(
    ("units", "vms", "expected"),
    [
        (True, False, ["fuzz", "unit"]),
        (False, True, GUESTS),
        (True, True, sorted(["fuzz", "unit", *GUESTS])),
    ],
)
def test_what_runs(ran: Ran, units: bool, vms: bool, expected: list[str]) -> None:
    assert suite.run(units=units, vms=vms)
    assert sorted(ran) == expected


def test_every_file_of_tests_vm_runs_and_none_twice(ran: Ran) -> None:
    """Without being listed anywhere."""
    suite.run(units=False, vms=True)
    here = sorted(f"tests/vm/{p.name}" for p in (paths.ROOT / "tests/vm").glob("test_*.py"))
    assert sorted(ran.files["5.10"]) == here and len(here) >= 10
    assert {"tests/vm/test_link.py", "tests/vm/test_frames.py"} <= set(ran.files["newest"])


class TestTheKernelThatFindsFaults:
    def test_it_runs_from_the_cache(
        self, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As it is there, although the mirror may have newer source."""
        resolved: list[str] = []

        def resolve(name: str) -> Kernel:
            resolved.append(name)
            return Kernel(name, Path("/"))

        monkeypatch.setattr(labs.kernels, "resolve", resolve)
        monkeypatch.setattr(suite.own, "cached", lambda recipe: Own(recipe, Path("/c/uml-1/tree")))
        assert suite.run(units=False, vms=True)
        assert ran.files["uml"] == guests.FINDING and set(guests.FINDING) <= set(guests.files())
        assert resolved == ["5.10", "newest", "/c/uml-1/tree"]
        assert "KASAN" not in capsys.readouterr().err

    def test_in_ci_it_is_left_out_by_name(
        self, ran: Ran, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert suite.run(units=False, vms=True)
        assert "uml" not in ran.files
        assert capsys.readouterr().err.endswith(
            "left out: tests with KASAN and lockdep "
            "(no kernel uml in the cache: ./inv lab --kernel uml -- true)\n"
        )

    @pytest.mark.usefixtures("ran")
    def test_it_is_made_in_the_background(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "inv").write_text('#!/bin/sh\necho "$@" >made\n')
        (tmp_path / "inv").chmod(0o755)
        monkeypatch.setattr(guests, "files", lambda: ["tests/vm/test_link.py"])
        monkeypatch.setattr(guests, "for_newest", lambda: ["tests/vm/test_link.py"])
        monkeypatch.setattr(paths, "ROOT", tmp_path)
        monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
        monkeypatch.delenv("CI")
        assert suite.run(units=False, vms=True)
        log = tmp_path / "logs/uml.log"
        assert capsys.readouterr().err.endswith(
            f"the next run has them: the kernel uml is being built in the background, see {log})\n"
        )
        made = tmp_path / "made"
        while not made.exists() or made.read_text() != "lab --kernel uml -- true\n":
            time.sleep(0.01)


def test_a_new_file_runs(ran: Ran, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tests/vm").mkdir(parents=True)
    for name in ("test_old.py", "test_new.py", "wire.py"):
        (tmp_path / "tests/vm" / name).write_text("")
    (tmp_path / "tests/vm/test_api.py").write_text("@pytest.mark.newest\ndef test_x(): ...\n")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    suite.run(units=False, vms=True)
    names = [f"tests/vm/test_{x}.py" for x in ("api", "new", "old")]
    assert ran.files == {"5.10": names, "newest": names[:1]}


def test_shares_are_even() -> None:
    shares = guests.shares(guests.files())

    def seconds(share: list[str]) -> int:
        return sum(guests.SECONDS.get(Path(f).name, guests.UNKNOWN) for f in share)

    assert len(shares) > 1
    assert seconds(shares[0]) < 1.5 * seconds(shares[-1])
    # one small thing needs one guest
    assert guests.shares(["tests/vm/test_link.py::test_x"]) == [["tests/vm/test_link.py::test_x"]]
    assert guests.shares([]) == []


def test_the_table_of_times_names_files_that_exist() -> None:
    assert set(guests.SECONDS) <= {Path(f).name for f in guests.files()}


def test_a_part_that_cannot_run_counts_as_failed(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Outcome:
        raise ToolError(
            "netns.sh failed with status 1 at: ping", log=Path("its/log"), again="sh again"
        )

    monkeypatch.setattr(suite, "netns_selftest", broken)
    assert not suite.run(units=True, vms=True)
    assert sorted(ran) == sorted({"fuzz", "unit", *GUESTS} - {"netns.sh"})
    said = capsys.readouterr()
    assert "at: ping (log: its/log; again: sh again)" in said.err
    assert "netns.sh on 5.10: 0 passed, 1 failed in 0 s\n  again: sh again\n" in said.out


def test_a_kernel_that_does_not_build_lets_the_others_run(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(name: str) -> Kernel:
        if name == suite.NEWEST:
            raise ToolError("no such kernel")
        return Kernel(name, Path("/"))

    monkeypatch.setattr(labs.kernels, "resolve", resolve)
    assert not suite.run(units=False, vms=True)
    assert sorted(ran) == sorted(set(GUESTS) - {f"vm-{NUMBER}-newest"})


@pytest.mark.usefixtures("ran")
def test_an_interruption_ends_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def unit() -> Outcome:
        started.append(suite.process.start(["sleep", "60"], subprocess.DEVNULL))
        started[0].wait()
        raise ToolError("the guest ended early")

    def interrupted(_: Kernel) -> None:
        while not started:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "unit", unit)
    monkeypatch.setattr(labs, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        suite.run(units=True, vms=True)
    assert started[0].returncode == -signal.SIGTERM


class TestWithoutRoot:
    """What the machine has runs; the rest is named, with what to type."""

    def lacks(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        monkeypatch.setattr(needs.os, "geteuid", lambda: 1000)
        monkeypatch.setattr(needs, "missing", lambda all_: sorted(set(all_) & set(names)))
        monkeypatch.delenv("CI", raising=False)

    def test_what_is_left_out_is_named(
        self, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.lacks(monkeypatch, "clang", "sparse", "perl")
        assert suite.run(units=True, vms=False)
        assert ran == ["unit"]
        install = "sudo apt-get install --no-install-recommends"
        assert capsys.readouterr().err.splitlines()[-2:] == [
            f"left out: fuzzing ({install} clang libclang-rt-14-dev llvm)",
            f"left out: unit tests that are skipped for want of a program ({install} perl sparse)",
        ]

    @pytest.mark.usefixtures("ran")
    def test_in_ci_nothing_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lacks(monkeypatch, "clang")
        monkeypatch.setenv("CI", "true")
        with pytest.raises(ToolError, match="test-unit: packages are missing"):
            suite.run(units=True, vms=False)


REPORT = """<testsuites><testsuite tests="5" failures="2" errors="1" skipped="1">
<testcase classname="tests.vm.test_link.TestModules" name="test_a[x-1]"><failure/></testcase>
<testcase classname="tests.vm.test_link" name="test_b"><error/></testcase>
<testcase classname="" name="tests.vm.test_frames"><error/></testcase>
<testcase classname="tests.vm.test_link" name="test_c"><skipped/></testcase>
<testcase classname="tests.vm.test_link" name="test_d"/>
</testsuite></testsuites>"""


def test_what_failed_comes_with_the_command_that_tries_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    found = outcome.read("guest", report, 2.0, 1).tried_by("--kernel", "6.1")
    assert not outcome.tell([found])
    assert capsys.readouterr().out == (
        "\nguest: 1 passed, 3 failed, 1 skipped in 2 s\n"
        "  failed: tests/vm/test_link.py::TestModules::test_a[x-1]\n"
        "  failed: tests/vm/test_link.py::test_b\n"
        "  failed: tests/vm/test_frames.py\n"
        "  again: ./inv test 'tests/vm/test_link.py::TestModules::test_a[x-1]' "
        "tests/vm/test_link.py::test_b tests/vm/test_frames.py --kernel 6.1\n"
        "1 passed, 3 failed, 1 skipped\n"
    )
    many = Outcome("x", 0, 20, failures=tuple(f"tests/a.py::test_{i}" for i in range(20)))
    assert many.tried_by().again == "./inv test tests/a.py"


SAYS = """<testsuites><testsuite tests="5" failures="3" errors="2">
<testcase classname="tests.vm.test_link" name="test_short"><failure message="m">\
tests/vm/test_link.py:7: in test_short
    assert judge(net)
tests/vm/spokes.py:99: in judge
    eventually(...)
E   toolkit.guest.hosts.Failed: not within 180 s: the frame has arrived
E   and more of it</failure></testcase>
<testcase classname="tests.vm.test_link" name="test_long"><failure message="m">
    def test_long():
&gt;       assert x == y
E       AssertionError: first

tests/vm/test_link.py:11: AssertionError

During handling of the above exception, another exception occurred:

&gt;       raise ValueError
E       ValueError: %s

tests/vm/test_link.py:12: ValueError</failure></testcase>
<testcase classname="tests.vm.test_link" name="test_helper"><failure message="m">\
toolkit/guest/hosts.py:5: in sh
E   Failed: x</failure></testcase>
<testcase classname="tests.vm.test_link" name="test_setup"><error message="no&#10;hub">\
</error></testcase>
<testcase classname="tests.vm.test_link" name="test_silent"><error/></testcase>
</testsuite></testsuites>"""


def test_what_failed_says_why_and_where(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(SAYS % ("x" * 1000))
    found = outcome.read("guest", report, 2.0, 1)
    assert found.told() == [
        "failed: tests/vm/test_link.py::test_short",
        "  tests/vm/test_link.py:7: toolkit.guest.hosts.Failed: not within 180 s: "
        "the frame has arrived and more of it",
        "failed: tests/vm/test_link.py::test_long",
        f"  tests/vm/test_link.py:12: ValueError: {'x' * (outcome.WHY - 15)}...",
        "failed: tests/vm/test_link.py::test_helper",
        "  toolkit/guest/hosts.py:5: Failed: x",
        "failed: tests/vm/test_link.py::test_setup",
        "  no hub",
        "failed: tests/vm/test_link.py::test_silent",
    ]
    assert found.tried_by("--kernel", "6.1").told() == found.told()


def test_no_report_and_no_test_are_failures(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    with pytest.raises(ToolError) as error:
        outcome.read("guest", report, 1.0, 5)
    assert str(error.value) == f"guest: pytest left no report (log: {tmp_path})"
    report.write_text('<testsuites><testsuite tests="0"/></testsuites>')
    with pytest.raises(ToolError, match="^guest: no test ran"):
        outcome.read("guest", report, 1.0, 5)


@pytest.mark.parametrize("status", [1, 2, 3, 139])
def test_a_run_that_was_cut_short_is_a_failure(tmp_path: Path, status: int) -> None:
    """Its report has the tests that had run by then, and they had passed."""
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="5" failures="0" errors="0"/></testsuites>')
    with pytest.raises(ToolError) as error:
        outcome.read("guest", report, 1.0, status)
    assert error.value.what == f"guest: pytest ended with status {status}, and no test failed"
    assert outcome.read("guest", report, 1.0, 0).passed == 5


def test_a_real_run_that_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    test = tmp_path / "test_x.py"
    test.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_end(): pytest.exit('enough')\n"
        "def test_bad(): assert False\n"
    )
    with pytest.raises(ToolError, match="^some tests: pytest ended with status 2, and no test "):
        suite.here(
            "some tests", [str(test)], "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"
        )


def test_a_test_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(guests, "TEST_LIMIT", 1)
    test = tmp_path / "test_x.py"
    test.write_text(
        "import pytest, threading\n"
        "def test_hangs(): threading.Event().wait()\n"
        "@pytest.mark.timeout(0)\n"
        "def test_good(): pass\n"
    )
    ran = suite.unit([str(test)], ["-p", "no:cacheprovider", f"--rootdir={tmp_path}"])
    assert str(ran) == "1 passed, 1 failed" and "test_hangs" in ran.failures[0]
    assert "Timeout" in ran.why[ran.failures[0]]


def test_an_interruption_ends_the_tests_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that only this process gets, a SIGTERM."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    test, pid = tmp_path / "test_x.py", tmp_path / "pid"
    test.write_text(
        "import os, pathlib, time\n"
        "def test_long():\n"
        f"    pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
    )
    with pytest.raises(KeyboardInterrupt), suite.process.pool(1) as pool:
        waiting = pool.submit(suite.here, "some tests", [str(test)], "-p", "no:cacheprovider")
        while not pid.exists() or not pid.read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert isinstance(waiting.exception(), ToolError)
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_a_lab_is_made_once_and_an_error_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(kernel: Kernel) -> SimpleNamespace:
        made.append(kernel.release)
        if kernel.release == "bad":
            raise ToolError("a.c:1:2: wrong")
        return SimpleNamespace(kvm_works=lambda: False)

    monkeypatch.setattr(labs, "make", make)
    monkeypatch.setattr(labs.kernels, "resolve", lambda name: Kernel(name, Path("/")))
    found = Labs(["good", "bad", "good"])
    assert found["good"] is found["good"]
    for _ in range(2):
        with pytest.raises(ToolError, match="wrong"):
            _ = found["bad"]
    assert made == ["good", "bad"]


@pytest.mark.parametrize(("given", "options"), [(None, ()), ("secure_boot", ("-k", "secure_boot"))])
def test_the_packages_tests_can_be_picked(
    given: str | None, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def here(*words: object) -> Outcome:
        asked.append(words)
        return Outcome("packages", 1, 0)

    monkeypatch.setattr(suite, "here", here)
    assert suite.packages(given)
    assert asked == [("packages", ["tests/package"], "-v", "--durations=10", *options)]
