# SPDX-License-Identifier: GPL-2.0
"""tests/vm in guests: which files share one, and how they run there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit import paths
from toolkit.checks import captures, iproute2, outcome
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.frame import library
from toolkit.lab.lab import Lab
from toolkit.run import say

FOLDER = "tests/vm"
#: Tests with this mark (pytest.mark.newest) are those that a newer kernel's API can break.
NEW_API = ("-m", "newest")
#: What `./inv test` runs with KASAN and lockdep, in at most five minutes.
FINDING = [f"{FOLDER}/test_{name}.py" for name in ("switch", "switch_rule", "switch_vlans")]
LIMIT = 1500  # seconds in which a guest's tests must make progress: more than any test may take
TEST_LIMIT = 900  # seconds for one test that does not say otherwise: by then it hangs

#: Seconds that a file of tests/vm takes under TCG on two cores. Only the proportions count, and
#: they only decide which files share a guest: a file that is not here runs all the same.
SECONDS = {
    "test_allocations.py": 1,  # skipped there
    "test_batch.py": 130,
    "test_batch_bpf.py": 40,
    "test_batch_receive.py": 60,
    "test_batch_way.py": 200,
    "test_bench.py": 100,
    "test_checksums.py": 90,
    "test_ctl.py": 170,
    "test_ctl_bridge.py": 110,
    "test_ctl_doctor.py": 40,
    "test_ctl_metrics.py": 30,
    "test_ctl_refusals.py": 30,
    "test_ctl_reload.py": 60,
    "test_ctl_reresolve.py": 30,
    "test_ctl_sync.py": 40,
    "test_ctl_up.py": 160,
    "test_frames.py": 90,
    "test_hostile.py": 120,
    "test_iproute2.py": 60,
    "test_link.py": 190,
    "test_loop.py": 130,
    "test_netlink_fuzz.py": 1,  # skipped there
    "test_netlink_states.py": 1,  # skipped there
    "test_readme.py": 30,
    "test_replay.py": 110,
    "test_scenarios.py": 140,
    "test_senders.py": 30,
    "test_switch.py": 180,
    "test_switch_guards.py": 80,
    "test_switch_host.py": 60,
    "test_switch_order.py": 20,
    "test_switch_peers.py": 130,
    "test_switch_floods.py": 5,
    "test_switch_rule.py": 130,
    "test_switch_scenarios.py": 180,
    "test_switch_table.py": 150,
    "test_switch_vlans.py": 50,
    "test_traffic.py": 110,
    "test_underlays.py": 90,
}
UNKNOWN = 60
SHARE = 330  # seconds of tests that are worth a guest of their own


def files() -> list[str]:
    """Every test file of tests/vm."""
    return sorted(f"{FOLDER}/{p.name}" for p in (paths.ROOT / FOLDER).glob("test_*.py"))


def for_newest() -> list[str]:
    """Those of them that have a test with the mark `newest`."""
    return [f for f in files() if "mark.newest" in (paths.ROOT / f).read_text()]


def shares(select: Sequence[str]) -> list[list[str]]:
    """Deal the tests out evenly to as many guests as pay off, the longest guest first.

    :param select: files or single tests of tests/vm.
    """

    def seconds(name: str) -> float:
        file, _, test = Path(name).name.partition("::")
        return 10 if test else SECONDS.get(file, UNKNOWN)

    number = max(1, round(sum(map(seconds, select)) / SHARE))
    made: list[list[str]] = [[] for _ in range(number)]
    for name in sorted(select, key=seconds, reverse=True):
        min(made, key=lambda share: sum(map(seconds, share))).append(name)
    made.sort(key=lambda share: -sum(map(seconds, share)))
    return [sorted(share) for share in made if share]


def run(
    lab: Lab,
    select: Sequence[str],
    folder: Path,
    *,
    only: Sequence[str] = (),
    kernel: str | None = None,
) -> Outcome:
    """Run tests in a guest. The report that pytest writes there proves that they ran.

    :param folder: emptied first; gets the report, the output and the kernel's log.
    :param only: pytest's options that leave some of them out (``-k``, ``-m``).
    :param kernel: the user's name for the lab's kernel.
    :raises ToolError: the guest fails, or the kernel complains outside of a test.
    """
    kernel = kernel or lab.kernel.release
    # for the guest, which has no network
    if any("test_replay.py" in name for name in select):
        captures.debian()
    if any("test_iproute2.py" in name for name in select):
        for release in iproute2.RELEASES:
            iproute2.bridge(release)
    library.build(lab.compiler)  # the guest has a compiler, but may not write here
    names = dict.fromkeys(name.split("::")[0] for name in select)
    say(f"Tests in a guest with {lab.kernel.label}: {' '.join(names)}")
    paths.fresh(folder)
    report = folder / "report.xml"
    command = outcome.pytest_argv(select, report, limit=TEST_LIMIT, only=only)
    result = lab.run(command, folder=folder, timeout=LIMIT, prefix=f"[{kernel}] ")
    short = ", ".join(Path(name).stem.removeprefix("test_") for name in names)
    name = f"{lab.kernel.label} in a guest: {short}"
    done = outcome.read(name, report, result.seconds, result.status)
    if not done.failed and (bad := result.complaints):
        raise ToolError(f"the kernel complained: {bad[0]}", log=folder, again=result.again)
    return done.tried_by("--kernel", kernel)
