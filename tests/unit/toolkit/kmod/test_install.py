# SPDX-License-Identifier: GPL-2.0
"""./inv install, but for the building; tests/package has the whole of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from toolkit.kernels.kernel import Kernel
from toolkit.kmod import install
from toolkit.kmod.signing import Signer

RELEASE = os.uname().release
KERNEL = cast(Kernel, SimpleNamespace(release=RELEASE))
ADVICE = (
    "This kernel takes signed modules only: ./inv install --sign KEY CERT, with a key that this "
    "machine trusts (docs/packages.md, Secure Boot)\n"
)


@pytest.mark.parametrize(
    ("enforced", "signed", "told"),
    [("Y", False, ADVICE), ("Y", True, ""), ("N", False, ""), (None, False, "")],
)
def test_a_kernel_that_takes_signed_modules_only(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    enforced: str | None,
    signed: bool,
    told: str,
) -> None:
    modules = tmp_path / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (modules / "modules.order").touch()
    built = tmp_path / "l2wireguard.ko"
    built.write_text("module")
    monkeypatch.setattr(install.build, "build", lambda *_, **__: SimpleNamespace(file=built))
    monkeypatch.setattr(install, "_depmod", lambda *_: None)
    if enforced:
        switch = tmp_path / "sys/module/module/parameters/sig_enforce"
        switch.parent.mkdir(parents=True)
        switch.write_text(f"{enforced}\n")
    signer = Signer(tmp_path / "key", tmp_path / "cert") if signed else None
    target = install.install(KERNEL, root=tmp_path, signer=signer)
    assert target.read_text() == "module"
    assert capsys.readouterr().err == told
