# SPDX-License-Identifier: GPL-2.0
"""The tasks of ./inv. They are thin: the work is in toolkit/."""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from toolkit import needs as packages
from toolkit.errors import ToolError

if TYPE_CHECKING:
    from toolkit.kernels.kernel import Kernel
    from toolkit.lab.lab import Lab


#: Errors that are the machine's and not a defect: a disk that is full, or may not be written to.
OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Print errors that the user can mend as one line, and exit with status 1."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        # nor may a closed terminal or a kill leave virtual machines behind
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants
                signal.signal(number, signal.default_int_handler)
        try:
            return function(*args, **kwargs)
        except ToolError as error:
            raise Exit(f"l2wg: {error}", code=1) from None
        except OSError as error:
            if error.errno not in OF_THE_MACHINE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise Exit(f"l2wg: {where}{error.strerror}", code=1) from None
        except KeyboardInterrupt:
            raise Exit("l2wg: interrupted", code=130) from None

    return wrapper


def needs(name: str, but: Collection[str] = ()) -> None:
    """Have the Debian packages that a task needs."""
    packages.ensure(name, but)


def kernel_named(name: str | None) -> Kernel:
    """Resolve --kernel: everything below takes a Kernel or a Lab."""
    from toolkit.kernels import kernel as kernels

    return kernels.resolve(name)


def lab_for(name: str | None) -> Lab:
    """The lab with that kernel."""
    from toolkit.lab import lab as labs

    return labs.of(name)


KERNEL = {"kernel": "running, newest, 5.10, 6.12+deb12, a release or a build folder"}


SIGN = {
    "sign": "private key to sign with (PEM), followed by its certificate: --sign KEY CERT",
    "cert": "the certificate, if --sign names only the key",
}


@task(
    help={
        **KERNEL,
        "source": "kernel tree or drivers/net/wireguard folder (default: Debian's linux-source)",
        "output": "folder for l2wireguard.ko (default: build/<release>)",
        "debug": "WireGuard's self-tests at load, debug messages and information",
        **SIGN,
    }
)
@friendly
def build_module(
    _c: Context,
    kernel: str | None = None,
    source: str | None = None,
    output: str | None = None,
    debug: bool = False,
    sign: str | None = None,
    cert: str | None = None,
) -> None:
    """Build l2wireguard.ko for a kernel and print its path."""
    needs("build-module")
    from toolkit import paths
    from toolkit.kmod import build, signing
    from toolkit.run import say

    module = build.build(
        kernel_named(kernel),
        source=Path(source) if source else None,
        output=Path(output) if output else None,
        debug=debug,
        signer=signing.signer(sign, cert),
    )
    if not module.fresh:
        say(f"Up to date: {module.kernel.label}")
    print(paths.shown(module.file))


INSTALL = {
    "kernel": "running (default), a release (6.1.0-56-amd64) or a series (6.1)",
    "root": "the folder that has the kernel's lib/modules (default: /)",
}


@task(help={**INSTALL, "source": "as for build-module", **SIGN})
@friendly
def install(
    _c: Context,
    kernel: str = "running",
    root: str = "/",
    source: str | None = None,
    sign: str | None = None,
    cert: str | None = None,
) -> None:
    """Build the module for the running kernel and put it into its updates/ folder."""
    needs("build-module")
    from toolkit.kmod import install as installs
    from toolkit.kmod import signing

    target = installs.install(
        kernel_named(kernel),
        source=Path(source) if source else None,
        root=Path(root),
        signer=signing.signer(sign, cert),
    )
    print(f"installed {target}")


@task(help=INSTALL)
@friendly
def uninstall(_c: Context, kernel: str = "running", root: str = "/") -> None:
    """Take the module out of the running kernel's updates/ folder."""
    from toolkit.kernels import kernel as kernels
    from toolkit.kmod import install as installs

    print(f"removed {installs.uninstall(kernels.release_of(kernel), root=Path(root))}")


@task(
    iterable=["source"],
    help={
        "source": "kernel tree whose series the package also carries; may be repeated",
        "output": "folder for the packages (default: build/packages)",
        "lint": "have lintian check them",
    },
)
@friendly
def package(_c: Context, source: list[str], output: str | None = None, lint: bool = False) -> None:
    """Build l2wireguard-dkms_*.deb and l2wgctl_*.deb and print their paths."""
    needs("package")
    from toolkit import paths
    from toolkit.debs import package as packaging

    for deb in packaging.packages(
        [Path(s) for s in source], Path(output) if output else None, lint=lint
    ):
        print(paths.shown(deb))


@task(help={"k": "only tests that match, as pytest's -k"})
@friendly
def package_test(_c: Context, k: str | None = None) -> None:
    """Install the packages on a clean Debian, upgrade its kernel, purge them; sign, install."""
    needs("package-test")
    from toolkit.checks import suite

    if not suite.packages(k):
        raise Exit(code=1)


@task(
    help={"tree": "kernel source tree, changed in place", "reverse": "take l2wg out again"},
)
@friendly
def patch(_c: Context, tree: str, reverse: bool = False) -> None:
    """Put l2wg into your kernel source tree (CONFIG_WIREGUARD=m yields both link kinds)."""
    needs("patch")
    from toolkit.kmod import patching

    changed = patching.patch_tree(Path(tree), reverse=reverse)
    print(f"{'taken out of' if reverse else 'put into'} {tree}: {len(changed)} files")


@task(help=KERNEL)
@friendly
def lab(c: Context, kernel: str | None = None) -> None:
    """A root shell in a virtual machine with the module at hand; or one command after `--`."""
    needs("lab")
    from toolkit.run import say

    machine = lab_for(kernel)
    if c.remainder:
        result = machine.run(["sh", "-c", c.remainder])
        status = result.status
        if bad := result.complaints:
            say(f"l2wg: the kernel complained: {bad[0]} (log: {result.folder})")
    elif sys.stdin.isatty():
        status = machine.shell()
    else:
        raise ToolError("lab: a shell needs a terminal", "give a command: ./inv lab -- COMMAND")
    if status:
        raise Exit(code=status)


@task(
    help={
        **KERNEL,
        "mesh": "four hosts of a mesh instead, with their keys and MACs in etcd",
        "switch": "a hub and three sites instead, one of which claims another's address",
    }
)
@friendly
def demo(_c: Context, kernel: str | None = None, mesh: bool = False, switch: bool = False) -> None:
    """Build the module and watch two hosts ping each other over encrypted Ethernet."""
    needs("demo-mesh" if mesh else "demo")
    from toolkit.lab import demo as demos

    demos.demo(lab_for(kernel), "mesh_demo" if mesh else "switch_demo" if switch else "demo")


@task(
    iterable=["files"],
    help={
        "k": "only tests that match, as pytest's -k",
        "files": "some files, folders or tests: ./inv test tests/vm/test_link.py",
        "kernel": "the guests' kernel, if some tests are picked (default: 5.10)",
        "unit": "only what needs no virtual machine",
        "vm": "only the virtual machines",
    },
)
@friendly
def test(
    _c: Context,
    files: list[str],
    k: str | None = None,
    kernel: str | None = None,
    unit: bool = False,
    vm: bool = False,
) -> None:
    """Run all tests: unit tests, linters and fuzzing here, scenarios in VMs; or some of them."""
    from toolkit.checks import pick, suite

    both = unit == vm
    if files or k or kernel:
        rooms = pick.ROOMS if both else [pick.HERE] if unit else pick.GUESTS
        good = pick.run(files, k, kernel, rooms=rooms)
    else:
        good = suite.run(units=unit or both, vms=vm or both)
    if not good:
        raise Exit(code=1)


@task(
    help={
        "kernel": "the guest's kernel (default: 5.10)",
        "etcd": "3.4 or 3.5, from Debian 12 or 13 (default: the one that is installed)",
    }
)
@friendly
def mesh_test(_c: Context, kernel: str | None = None, etcd: str | None = None) -> None:
    """Every fault of a mesh in a guest: the store's, the network's, forgers' and the agents'."""
    from toolkit.checks import pick
    from toolkit.lab import etcd as etcds

    if etcd:
        os.environ["L2WG_ETCD"] = str(etcds.program(etcd))
    files = [f"tests/vm/mesh_{part}.py" for part in ("basics", "unit", "crowd", "faults")]
    if not pick.run(files, None, kernel):
        raise Exit(code=1)


@task(
    help={
        "all": "all of tests/vm and WireGuard's netns.sh, not only what reaches most of the C",
        "write": "put the tables into docs/reliability.md",
        "minutes": "of storms on several processors with KCSAN (default 5); 0: without that kernel",
        "plaintexts": "of hostile peers at full speed (default 5e6); 0: none",
        "only": "parts with this in their name (races, attacks, ctl_bridge)",
    }
)
@friendly
def sanitize(
    _c: Context,
    all: bool = False,
    write: bool = False,
    minutes: float = 5.0,
    plaintexts: float = 5e6,
    only: str = "",
) -> None:
    """Run the tests on kernels with KASAN, lockdep, KCSAN and the like; print what they found."""
    needs("sanitize")
    from toolkit.checks import sanitize as sanitizing

    asked = {"minutes": minutes, "plaintexts": plaintexts}
    if not sanitizing.sanitize(whole=all, write=write, only=only, **asked):
        raise Exit(code=1)


@task(
    positional=["file"],
    help={"file": "capture file, pcap or pcapng, also gzipped", "each": "a line for each frame"},
)
@friendly
def frames(_c: Context, file: str, each: bool = False) -> None:
    """Say what the length function makes of a capture's frames."""
    needs("frames")
    from toolkit.frame import verdicts as reader

    reader.report(Path(file), each)


@task(help={"seconds": "how long (default 60)"})
@friendly
def fuzz(_c: Context, seconds: int = 60) -> None:
    """Fuzz the length function with libFuzzer; print executions and coverage."""
    needs("fuzz")
    from toolkit.frame import fuzz as fuzzing

    fuzzing.run(seconds)


@task(
    help={
        **KERNEL,
        "short": "4 parallel streams and 1 s for each run: minutes instead of a quarter of an hour",
        "stock": "the stock module instead, for comparison",
    }
)
@friendly
def selftest(
    _c: Context, kernel: str | None = None, short: bool = False, stock: bool = False
) -> None:
    """Run WireGuard's own netns.sh against our module's plain kind."""
    needs("selftest")
    from toolkit.checks import netns as selftests

    seconds = selftests.selftest(lab_for(kernel), short=short, stock=stock)
    print(f"netns.sh passed in {seconds:.0f} s")


@task(help={**KERNEL, "switch": "a switch with 8,192 MACs, beside wg and bridge -batch"})
@friendly
def bench_ctl(_c: Context, kernel: str | None = None, switch: bool = False) -> None:
    """Time and memory of l2wgctl beside wg, for 10, 1,000 and 10,000 peers, in a VM."""
    needs("bench-ctl")
    from toolkit.bench import ctl as benches
    from toolkit.guest import ctl, ctl_switch

    sizes = ctl_switch.SIZES if switch else ctl.SIZES
    benches.bench_ctl(lab_for(kernel), sizes, switch=switch)


@task(
    help={
        **KERNEL,
        "quick": "a few contenders, one round: minutes, and nothing for the docs",
        "counted": "without wall-clock times of a guest, which other work on this machine spoils",
        "contenders": "some of them, with commas between",
        "rounds": "of each of the two guests that count (default 2)",
        "compare": "an earlier report: say what became slower, and fail if something did",
    }
)
@friendly
def bench(
    _c: Context,
    kernel: str | None = None,
    quick: bool = False,
    counted: bool = False,
    contenders: str | None = None,
    rounds: int = 0,
    compare: str | None = None,
) -> None:
    """Measure l2wg beside WireGuard, VXLAN, GRETAP, OpenVPN, tinc and n2n."""
    from toolkit.bench import measure as benches

    much = benches.extent(quick, contenders, counted=counted, rounds=rounds)
    needs("bench", but=set(packages.RIVALS) - much.packages())
    earlier = Path(compare) if compare else None
    if not benches.bench(lab_for(kernel), much, compare=earlier):
        raise Exit(code=1)


@task(help={**KERNEL, "quick": "a few frames and seconds, and nothing for the docs"})
@friendly
def bench_hostile(_c: Context, kernel: str | None = None, quick: bool = False) -> None:
    """What honest peers of a switch lose while others, with valid keys, attack it, in a VM."""
    needs("bench-hostile")
    from toolkit.bench import hostile

    hostile.bench(lab_for(kernel), quick=quick)


@task(
    help={
        "quick": "small sizes, and nothing for the docs",
        "crowd": "only the store with a crowd of clients, which ask what agents ask",
    }
)
@friendly
def bench_mesh(_c: Context, quick: bool = False, crowd: bool = False) -> None:
    """Agents of a mesh against a real etcd: a change's way to the kernels, requests, memory."""
    needs("bench-mesh")
    from toolkit.bench import mesh, mesh_store

    if not crowd:
        mesh.bench(quick=quick)
    mesh_store.bench(quick=quick)


@task(
    help={
        **KERNEL,
        "contenders": "what to compare, with commas between; the first is the base",
        "small": "packets of 64 bytes instead of 1,280 to 1,343",
    }
)
@friendly
def profile(
    _c: Context,
    kernel: str | None = None,
    contenders: str = "wireguard,wireguard-ours,l2wireguard",
    small: bool = False,
) -> None:
    """Say in which functions a frame's instructions are, ours beside the stock module's."""
    from toolkit.bench import measure as benches
    from toolkit.bench import profile as bench_profile

    much = benches.extent(True, contenders)
    needs("profile", but=set(packages.RIVALS) - much.packages())
    bench_profile.run(lab_for(kernel), much, small=small)


@task(
    help={
        "kernels": "only these, comma-separated (5.10,newest); default: all",
        "guests": "virtual machines at a time (default 2)",
    }
)
@friendly
def matrix(_c: Context, kernels: str | None = None, guests: int = 2) -> None:
    """Build, boot and test on every kernel; print a table and write docs/kernels.md."""
    needs("test-vm")
    from toolkit.checks import matrix as matrices

    if not matrices.matrix(kernels.split(",") if kernels else None, at_a_time=guests):
        raise Exit(code=1)


@task(help={"kernels": "two, comma-separated (default: 5.10,newest)"})
@friendly
def pair(_c: Context, kernels: str = "5.10,newest") -> None:
    """Two virtual machines with different kernels, joined by a cable: ping, VLAN, bridge, mesh."""
    needs("test-vm")
    from toolkit.checks import matrix as matrices

    names = kernels.split(",")
    if len(names) != 2:
        raise ToolError(f"--kernels {kernels}: not two kernels", "write --kernels 5.10,newest")
    if not matrices.two(*names):
        raise Exit(code=1)


@task(help={"write": "put the table into docs/kernels.md"})
@friendly
def sources(_c: Context, write: bool = False) -> None:
    """Apply the patches to every linux-source package that Debian serves, without fuzz."""
    needs("patch")
    from toolkit.checks import sources as sweep

    if not sweep.sweep(write=write):
        raise Exit(code=1)


@task(
    help={
        "kernel": "6.1 (the default), another series, or a release",
        "fresh": "make a new one, with today's packages",
    }
)
@friendly
def box(_c: Context, kernel: str | None = None, fresh: bool = False) -> None:
    """Make a Vagrant box from Debian's packages, and what its machines take from here."""
    needs("box")
    from toolkit.run import say
    from toolkit.vagrant import box as boxes

    made = boxes.prepare(kernel_named(kernel or boxes.DEFAULT), fresh=fresh)
    say(f"Linux {made.release}; now: L2WG_BOX={made.name} vagrant up --provider libvirt")
    print(made.name)


@task(
    help={
        "kernel": "6.1 (the default), another series, or a release",
        "box": "another box than ours, by Vagrant's name for it",
        "third": "a third machine, on the Ethernet behind the first",
        "hub": "a third machine of its own: the first is a hub of the others",
        "setup-libvirt": "if libvirt does not run, set it up, and undo that at the end",
        "keep": "leave the machines and libvirt running",
        "destroy": "run no test: end the machines, and undo the set-up of libvirt",
        "only": "only tests whose name contains this",
    }
)
@friendly
def vagrant_test(
    _c: Context,
    kernel: str | None = None,
    box: str | None = None,
    third: bool = False,
    hub: bool = False,
    setup_libvirt: bool = False,
    keep: bool = False,
    destroy: bool = False,
    only: str | None = None,
) -> None:
    """Start the Vagrantfile's machines and run the tests against them."""
    needs("vagrant-test")
    from toolkit.vagrant import box as boxes
    from toolkit.vagrant import machines

    if destroy:
        machines.end()
        return
    wanted = kernel_named(kernel or boxes.DEFAULT)
    if not machines.test(
        wanted, box=box, third=third, hub=hub, setup=setup_libvirt, keep=keep, only=only
    ):
        raise Exit(code=1)


@task(help={"upgrade": "take the newest version of everything"})
@friendly
def lock(_c: Context, upgrade: bool = False) -> None:
    """Renew requirements*.lock from pyproject.toml, with hashes."""
    from toolkit import lock as locking

    changed = locking.lock(upgrade=upgrade)
    for name, (before, now) in changed.items():
        print(f"{name}: {before or 'new'} -> {now or 'gone'}")
    if not changed:
        print("requirements*.lock have the same versions as before")


@task(help={"all": "also remove the download cache"})
@friendly
def clean(_c: Context, all: bool = False) -> None:
    """Remove what was built (build/); with --all also what was downloaded."""
    from toolkit import paths

    paths.clean(all=all)
