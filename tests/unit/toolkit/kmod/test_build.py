# SPDX-License-Identifier: GPL-2.0
"""Building: what a failed build says in one line, and when a module is up to date."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.faketree import make
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.source import DRIVER, Source
from toolkit.kmod import build, toolchain
from toolkit.kmod.toolchain import Toolchain


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    made = Kernel("5.10.0-46-amd64", tmp_path / "headers")
    made.build.mkdir()
    (made.build / "Module.symvers").touch()
    # a cached property, which would ask make
    made.__dict__["version"] = "5.10.262"
    return made


class Programs:
    """Stands for run(): answers by the program's name and last words."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def __call__(self, argv: list[str | Path], **_: object) -> subprocess.CompletedProcess[str]:
        words = [str(a) for a in argv]
        for name, answer in self.answers.items():
            if name in words[0] or name in words:
                return subprocess.CompletedProcess(words, 0, answer, "")
        raise AssertionError(f"nobody expects {words}")


LABEL = "5.10.0-46-amd64 (Linux 5.10.262)"
GCC = "gcc (Debian 15.2.0-1) 15.2.0"

#: name -> (what is in the log, the line without its hint, whether the hint speaks of compilers)
LOGS = {
    "option": (
        "make[1]: Entering directory '/x'\n"
        "gcc: error: unrecognized command-line option '-fplugin=x'; did you mean '-fpl'?\n",
        f"the compiler {GCC} does not know the kernel's option -fplugin=x: {LABEL} refuses it",
        True,
    ),
    "option-quoted": (
        "gcc: error: unrecognized command-line option ‘-mharden-sls=all’; did you mean ‘x’?\n",
        f"the compiler {GCC} does not know the kernel's option -mharden-sls=all: "
        f"{LABEL} refuses it",
        True,
    ),
    "plugins": (
        "cc1: error: incompatible gcc/plugin versions\n",
        f"the compiler {GCC} has incompatible gcc/plugin versions: {LABEL} refuses it",
        True,
    ),
    "asm-goto": (
        "arch/x86/Makefile:175: *** Compiler lacks asm-goto support..  Stop.\n",
        f"the compiler {GCC} is too old: Compiler lacks asm-goto support: {LABEL} refuses it",
        True,
    ),
    "code-model": (
        "./a.c:1:1: error: code model kernel does not support PIC mode\n",
        f"the compiler {GCC} cannot build kernel code: {LABEL} refuses it",
        True,
    ),
    "unimplemented": (
        "cc1: sorry, unimplemented: '-mcall=x' here\n",
        f"the compiler {GCC} cannot build kernel code: {LABEL} refuses it",
        True,
    ),
    "error": (
        "  CC [M]  /x/drivers/net/wireguard/l2wg_dev.o\n"
        "/x/drivers/net/wireguard/l2wg_dev.c:99:2: warning: unused variable 'n'\n"
        "/x/drivers/net/wireguard/l2wg_dev.c:100:2: error: implicit declaration of 'f'\n"
        "/x/drivers/net/wireguard/l2wg_dev.c:101:2: error: another\n"
        "make[1]: *** [Makefile:1: /x] Error 2\n",
        f"l2wg_dev.c:100:2: implicit declaration of 'f' (building for {LABEL})",
        False,
    ),
    "fatal": (
        "net.c:1:10: fatal error: linux/none.h: No such file or directory\n",
        f"net.c:1:10: linux/none.h: No such file or directory (building for {LABEL})",
        False,
    ),
    "modpost": (
        'ERROR: modpost: "wg_none" [/x/l2wireguard.ko] undefined!\nmake: *** [x] Error 1\n',
        f'building for {LABEL} failed: ERROR: modpost: "wg_none" [/x/l2wireguard.ko] undefined!',
        False,
    ),
    "make": (
        "make[2]: *** No rule to make target 'x', needed by 'y'.  Stop.\n",
        f"building for {LABEL} failed: "
        "make[2]: *** No rule to make target 'x', needed by 'y'.  Stop.",
        False,
    ),
    "silent": ("Killed\n", f"building for {LABEL} failed: no reason given", False),
}


@pytest.mark.parametrize("name", LOGS)
def test_why_a_build_failed(
    name: str, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, what, compiler = LOGS[name]
    log = tmp_path / "build.log"
    log.write_text(text)
    monkeypatch.setattr(toolchain, "run", Programs(gcc=f"{GCC}\nCopyright\n"))
    found = build._why(log, kernel, Toolchain("gcc", None, kernel))
    hint = "use the compiler of that kernel's release, CC=gcc-N" if compiler else ""
    assert (found.what, found.hint, found.log) == (what, hint, log)


def test_a_kernel_that_has_not_been_built(kernel: Kernel, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text('ERROR: modpost: "timer_delete" [l2wireguard.ko] undefined!\n')
    tools = Toolchain("gcc", None, kernel)
    (kernel.build / "Module.symvers").unlink()
    assert str(build._why(log, kernel, tools)) == (
        f"{kernel.build}: has no Module.symvers, which lists what modules may use "
        f"(build that kernel there first, `make vmlinux modules`; log: {log})"
    )
    (kernel.build / "Module.symvers").touch()
    assert build._why(log, kernel, tools).what == (
        f'building for {LABEL} failed: ERROR: modpost: "timer_delete" [l2wireguard.ko] undefined!'
    )


@pytest.mark.program("make", "patch")
def test_a_failed_build_is_one_line_and_leaves_nothing(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel.build / "Makefile").write_text(
        "modules:\n\t@echo 'l2wg_dev.c:1:2: error: no such luck'; exit 2\n"
    )
    tree = make(tmp_path / "linux", "5.10.262")
    monkeypatch.setattr(build.paths, "LOGS", tmp_path / "logs")
    with pytest.raises(ToolError) as error:
        build.build(kernel, source=tree, output=tmp_path / "out")
    (log,) = (tmp_path / "logs").iterdir()
    assert str(error.value) == (f"l2wg_dev.c:1:2: no such luck (building for {LABEL}) (log: {log})")
    assert not (tmp_path / "out").exists()


def test_what_kbuild_gets(kernel: Kernel, tmp_path: Path) -> None:
    tree = make(tmp_path / "linux")
    driver = build.prepare(tmp_path / "work", Source(tree / DRIVER, tree, "6.1.192"), "Linux 6.1")
    assert driver == tmp_path / "work" / DRIVER
    kbuild = (driver / "Kbuild").read_text()
    assert "obj-m := l2wireguard.o\n" in kbuild and "-DDEBUG" not in kbuild
    assert (driver / "l2wg_dev.c").exists() and not (tree / DRIVER / "l2wg_dev.c").exists()
    argv = build.make_argv(kernel, driver, "gcc-12", "C=2")
    assert argv[0] == "make" and argv[-2:] == ["C=2", "modules"]
    assert {f"M={driver}", "CC=gcc-12", "-C", str(kernel.build)} <= set(argv)


def test_a_module_is_up_to_date_until_an_input_or_it_changes(tmp_path: Path) -> None:
    built, file = tmp_path / "built.ko", tmp_path / "out" / "l2wireguard.ko"
    built.write_bytes(b"module")
    assert not build._up_to_date(file, "inputs")
    build._put(built, file, "inputs")
    assert build._up_to_date(file, "inputs")
    assert not build._up_to_date(file, "other inputs")
    file.write_bytes(b"changed")
    assert not build._up_to_date(file, "inputs")
    build._put(built, file, "inputs")
    (tmp_path / "out/l2wireguard.json").write_text("{")
    assert not build._up_to_date(file, "inputs")
    assert sorted(p.name for p in file.parent.iterdir()) == ["l2wireguard.json", "l2wireguard.ko"]


@pytest.mark.parametrize(
    "change", ["driver", "config", "symbols", "compiler", "version", "debug", "own"]
)
def test_every_input_counts(
    change: str, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make(tmp_path / "linux")
    wireguard = Source(tree / DRIVER, tree, "6.1.192")
    monkeypatch.setattr(toolchain, "run", Programs(gcc=GCC))
    tools = Toolchain("gcc", None, kernel)
    before = build._fingerprint(kernel, wireguard, tools, False)
    assert build._fingerprint(kernel, wireguard, tools, False) == before
    debug = False
    if change == "driver":
        (tree / DRIVER / "noise.h").write_text("/* new */\n")
    elif change == "config":
        (kernel.build / ".config").write_text("CONFIG_X=y\n")
    elif change == "symbols":
        (kernel.build / "Module.symvers").write_text("0x1\n")
    elif change == "compiler":
        monkeypatch.setattr(toolchain, "run", Programs(gcc="gcc 99"))
    elif change == "version":
        kernel.__dict__["version"] = "5.10.263"
    elif change == "debug":
        debug = True
    else:
        monkeypatch.setattr(build.patching, "own_files", lambda: {"l2wg_dev.c": "new"})
    assert build._fingerprint(kernel, wireguard, tools, debug) != before


@pytest.mark.parametrize(
    ("magic", "alias", "said"),
    [
        (
            "6.1.0-1-amd64 SMP mod_unload",
            "rtnl-link-l2wireguard",
            "l2wireguard.ko is for 6.1.0-1-amd64, not for 5.10.0-46-amd64 "
            "(the headers in {} are another kernel's)",
        ),
        (
            "5.10.0-46-amd64 SMP mod_unload",
            "rtnl-link-wireguard\nrtnl-link-l2wireguard",
            "l2wireguard.ko has the wrong aliases: rtnl-link-wireguard rtnl-link-l2wireguard",
        ),
        (
            *("5.10.0-46-amd64 SMP mod_unload", "net-pf-16-proto-16-family-l2wireguard"),
            "l2wireguard.ko has the wrong aliases: net-pf-16-proto-16-family-l2wireguard",
        ),
    ],
)
def test_a_module_that_modprobe_would_not_take(
    magic: str,
    alias: str,
    said: str,
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = tmp_path / "l2wireguard.ko"
    module.touch()
    monkeypatch.setattr(build, "run", Programs(vermagic=magic, alias=alias))
    with pytest.raises(ToolError) as error:
        build._check(module, kernel)
    assert str(error.value) == said.format(kernel.build)
