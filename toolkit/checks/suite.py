# SPDX-License-Identifier: GPL-2.0
"""./inv test: the unit tests here, the scenarios in the lab's guest, WireGuard's own test."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from toolkit import paths
from toolkit.checks import captures, netns, outcome, pair
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.frame import fuzz as fuzzing
from toolkit.lab import lab as labs
from toolkit.lab import process
from toolkit.run import say

NEWEST = "newest"

#: Those of the link's tests that a new kernel's API can break, without the long ones.
LINK_ESSENTIALS = (
    *("test_it_is_an_ethernet_interface", "test_the_plain_kind_is_as_it_was"),
    *("test_it_keeps_an_ipv6_link_local_address", "test_vlans_on_top_keep_the_offloads"),
    *("test_mtu_can_be_set_within_an_ethernets_limits", "test_wg_configures_it"),
    "test_it_moves_to_another_namespace_and_its_tunnel_stays",
    "TestModules::test_beside_the_stock_module_it_offers_the_ethernet_kind_only",
    "TestModules::test_loaded_first_it_offers_both_kinds",
)

#: What runs in which guest: (kernel, tests). All of tests/vm on the oldest kernel, in several
#: guests so that both cores work; on the newest what its API can break. ./inv matrix runs all tests
#: on all kernels.
VM_RUNS: list[tuple[str, list[str]]] = [
    ("5.10", ["tests/vm/test_link.py", "tests/vm/test_underlays.py"]),
    ("5.10", ["tests/vm/test_frames.py", "tests/vm/test_scenarios.py", "tests/vm/test_traffic.py"]),
    ("5.10", ["tests/vm/test_ctl.py", "tests/vm/test_ctl_up.py", "tests/vm/test_ctl_sync.py"]),
    ("5.10", ["tests/vm/test_hostile.py", "tests/vm/test_replay.py", "tests/vm/test_bench.py"]),
    (
        NEWEST,
        [
            *(f"tests/vm/test_link.py::{name}" for name in LINK_ESSENTIALS),
            *("tests/vm/test_frames.py", "tests/vm/test_traffic.py"),
        ],
    ),
]
GUESTS = 2  # at a time
VM_LIMIT = 1500  # seconds for one guest's tests
FUZZ = 60  # seconds of fuzzing


def unit() -> Outcome:
    """The tests that need neither root nor a guest, among them the linters."""
    report = paths.LOGS / "unit.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/unit", f"--junit-xml={report}"],
        cwd=paths.ROOT,
        check=False,
    )
    return outcome.read("unit tests", report, time.monotonic() - started)


def in_guest(
    kernel: str, select: list[str], folder: Path, *, limit: int = VM_LIMIT, test: int = 300
) -> Outcome:
    """Tests in a guest of that kernel. The report that pytest writes there proves that they ran.

    :param folder: emptied first; gets the report, the output and the kernel's log.
    :param limit: seconds for all tests.
    :param test: seconds for one, unless it says otherwise.
    :raises ToolError: the guest fails, or the kernel complains outside of a test.
    """
    lab = labs.make(kernel)
    if "tests/vm/test_replay.py" in select:
        captures.debian()  # for the guest, which has no network
    files = dict.fromkeys(s.split("::")[0] for s in select)
    say(f"Tests in a guest with {lab.kernel.label}: {' '.join(files)}")
    shutil.rmtree(folder, ignore_errors=True)
    report = folder / "report.xml"
    command = outcome.pytest_argv(select, report, test)
    result = lab.run(command, folder=folder, timeout=limit, prefix=f"[{kernel}] ")
    names = ", ".join(dict.fromkeys(Path(s).stem.removeprefix("test_") for s in select))
    done = outcome.read(f"{lab.kernel.label} in a guest: {names}", report, result.seconds)
    if not done.failed and (bad := result.complaints):
        raise ToolError(f"the kernel complained: {bad[0]}", f"logs: {folder}")
    return done


def vm(number: int) -> Outcome:
    """One of VM_RUNS."""
    kernel, select = VM_RUNS[number]
    return in_guest(kernel, select, paths.LOGS / f"vm-{number}-{kernel}")


def netns_selftest(kernel: str) -> Outcome:
    """WireGuard's own test, shortened."""
    seconds = netns.selftest(kernel, short=True)
    return Outcome(f"WireGuard's netns.sh on {kernel}, shortened", 1, 0, seconds=seconds)


def two_machines(first: str, second: str) -> Outcome:
    """tests/machines on two kernels."""
    return pair.pair(first, second).outcome


def fuzz() -> Outcome:
    """The length function under libFuzzer for a minute."""
    started = time.monotonic()
    fuzzing.run(FUZZ)
    return Outcome("fuzzing the length function", 1, 0, seconds=time.monotonic() - started)


def _part(name: str, part: Callable[[], Outcome]) -> Outcome:
    try:
        return part()
    except ToolError as error:
        say(f"l2wg: {name}: {error}")
        return Outcome(name, 0, 1)


def run(*, units: bool, guests: bool) -> bool:
    """Run the parts, print what ran, and say whether all passed.

    A part that cannot run counts as failed; the others run all the same.
    """
    jobs: list[tuple[str, Callable[[], Outcome]]] = []
    if units:
        jobs += [("unit tests", unit), ("fuzzing the length function", fuzz)]
    with process.pool(GUESTS) as pool:
        waiting = [pool.submit(_part, name, job) for name, job in jobs]
        if guests:
            _prepare()  # meanwhile
            waiting += [pool.submit(_part, name, job) for name, job in _guests()]
        outcomes = [w.result() for w in waiting]
    return _report(outcomes)


def _prepare() -> None:
    """Make the labs, one after the other: guests that start together share what this leaves."""
    for kernel in dict.fromkeys(kernel for kernel, _ in VM_RUNS):
        try:
            labs.make(kernel).kvm_works()
        except ToolError as error:
            # its own parts will fail by it, and the others run
            say(f"l2wg: {kernel}: {error}")


def _guests() -> list[tuple[str, Callable[[], Outcome]]]:
    """What runs in guests, the shortest last, so that no core waits for a long one at the end."""
    oldest = VM_RUNS[0][0]
    jobs: list[tuple[str, Callable[[], Outcome]]] = [
        (f"guest {i} with {kernel}", functools.partial(vm, i))
        for i, (kernel, _) in enumerate(VM_RUNS)
    ]
    jobs.insert(-1, (f"netns.sh on {oldest}", functools.partial(netns_selftest, oldest)))
    jobs.append(("two machines", functools.partial(two_machines, oldest, NEWEST)))
    return jobs


def packages() -> bool:
    """The tests of what is installed: packages on a clean Debian, signatures, `./inv install`.

    :returns: all passed.
    """
    report = paths.LOGS / "package.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    started = time.monotonic()
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "--durations=10", "tests/package"),
            f"--junit-xml={report}",
        ],
        cwd=paths.ROOT,
        check=False,
    )
    took = time.monotonic() - started
    return _report([_part("packages", lambda: outcome.read("packages", report, took))])


def _report(outcomes: list[Outcome]) -> bool:
    """Print a line for each part; did all pass?"""
    print()
    for o in outcomes:
        print(f"{o.name}: {o} in {o.seconds:.0f} s")
    all_of_it = outcome.total(outcomes)
    # with the zeros: the line by which CI counts
    print(f"{all_of_it.passed} passed, {all_of_it.failed} failed, {all_of_it.skipped} skipped")
    return not all_of_it.failed
