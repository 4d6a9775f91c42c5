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
UNSIGNED = (
    "This kernel will refuse it: the installed module is not signed, and this kernel takes no "
    "other: 'sudo ./inv install --sign KEY CERT', with a key that the machine trusts\n"
)
STRANGER = (
    "This kernel will refuse it: the installed module is signed by 'me', of whom this kernel has "
    "no key; it takes enrolled keys only with Secure Boot on (docs/packages.md)\n"
)
#: /proc/keys as root reads it, with the key of one signer.
KEYS = "1a2b3c4d I------     1 perm 1f010000     0     0 asymmetri {}: 4a5b: X509.rsa 4a5b []\n"


@pytest.mark.parametrize(
    ("enforced", "signer", "known", "told"),
    [
        ("Y", "", "me", UNSIGNED),
        ("Y", "me", "me", ""),
        ("Y", "me", "Debian", STRANGER),
        ("Y", "me", None, ""),
        ("N", "me", "Debian", ""),
        ("N", "", "me", ""),
        (None, "", "me", ""),
    ],
)
def test_a_kernel_that_takes_signed_modules_only(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    enforced: str | None,
    signer: str,
    known: str | None,
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
    if known:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/keys").write_text(KEYS.format(known))
    monkeypatch.setattr(install, "run", lambda *_, **__: SimpleNamespace(stdout=f"{signer}\n"))
    by = Signer(tmp_path / "key", tmp_path / "cert") if signer else None
    target = install.install(KERNEL, root=tmp_path, signer=by)
    assert target.read_text() == "module"
    assert capsys.readouterr().err == told
