# SPDX-License-Identifier: GPL-2.0
"""./inv build-module --sign KEY CERT, and ./inv install, with real keys and a real kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels import kernel
from toolkit.kmod import build, install, signing
from toolkit.lab import lab as labs
from toolkit.run import run

SERIES = "6.1"
NAME = "l2wg test key"


def make_key(folder: Path, name: str, *options: str, common_name: str = NAME) -> tuple[Path, Path]:
    """A key and its certificate, as the kernel's documentation makes them."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    run(
        [
            *("openssl", "req", "-x509", "-new", "-utf8", "-sha256", "-days", "36500", "-batch"),
            *("-newkey", "rsa:2048", "-subj", f"/CN={common_name}", "-keyout", key, "-out", cert),
            *(options or ("-nodes",)),
        ]
    )
    return key, cert


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_key(tmp_path_factory.mktemp("keys"), "mine")


def field(module: Path, name: str) -> str:
    return run(["modinfo", "--field", name, module]).stdout.strip()


def test_the_module_has_its_signer(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """By the command itself, so that `--sign KEY CERT` is tried as it is typed."""
    done = subprocess.run(
        [
            *(paths.ROOT / "inv", "build-module", "--kernel", SERIES, "--output", tmp_path),
            *("--sign", *keys),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    module = Path(done.stdout.strip())
    assert field(module, "signer") == NAME
    assert field(module, "sig_hashalgo") == "sha256"
    # the signature is behind the module, which is otherwise the same
    plain = build.build(kernel.resolve(SERIES)).file.read_bytes()
    signed = module.read_bytes()
    assert signed.startswith(plain) and signed.endswith(b"~Module signature appended~\n")
    # OpenSSL, which had no part in it, finds it good
    # struct module_signature has 12 bytes, the last four of which are its length; then 28 of text
    assert int.from_bytes(signed[-32:-28], "big") == len(signed) - len(plain) - 40
    signature, content = tmp_path / "signature", tmp_path / "content"
    signature.write_bytes(signed[len(plain) : -40])
    content.write_bytes(plain)
    run(
        [
            *("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", signature),
            *("-content", content, "-certfile", keys[1], "-noverify", "-out", "/dev/null"),
        ]
    )


def test_a_certificate_in_der_and_a_key_with_a_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = make_key(tmp_path, "locked", "-passout", "pass:open sesame")
    der = tmp_path / "locked.der"
    run(["openssl", "x509", "-in", cert, "-outform", "DER", "-out", der])
    signer = signing.signer(key, der)
    with pytest.raises(ToolError, match="passphrase is wrong or missing .KBUILD_SIGN_PIN.$"):
        build.build(kernel.resolve(SERIES), output=tmp_path, signer=signer)
    assert not (tmp_path / "l2wireguard.ko").exists()
    monkeypatch.setenv("KBUILD_SIGN_PIN", "open sesame")
    assert (
        field(build.build(kernel.resolve(SERIES), output=tmp_path, signer=signer).file, "signer")
        == NAME
    )


def test_another_keys_certificate(keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_key(tmp_path, "other")
    signer = signing.signer(keys[0], other[1])
    with pytest.raises(ToolError) as error:
        build.build(kernel.resolve(SERIES), output=tmp_path, signer=signer)
    assert str(error.value) == "signing with other.pem: the certificate is not that key's"
    assert not (tmp_path / "l2wireguard.ko").exists()


def test_a_kernel_whose_own_sign_file_does_not_run_here(
    keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """Debian 11's wants OpenSSL 1.1."""
    module = build.build(kernel.resolve("5.10"), output=tmp_path, signer=signing.signer(*keys)).file
    assert field(module, "signer") == NAME


def test_signed_and_unsigned_are_not_taken_for_each_other(
    keys: tuple[Path, Path], tmp_path: Path
) -> None:
    signer = signing.signer(*keys)
    signed = [
        build.build(kernel.resolve(SERIES), output=tmp_path, signer=s).fresh
        for s in (signer, signer)
    ]
    assert signed == [True, False]
    assert build.build(kernel.resolve(SERIES), output=tmp_path).fresh
    assert field(tmp_path / "l2wireguard.ko", "signer") == ""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the kernel's modules in it, as INSTALL_MOD_PATH would name it."""
    found = kernel.resolve(SERIES)
    modules = tmp_path / "root/lib/modules" / found.release
    (modules / "kernel").mkdir(parents=True)
    for name in ("modules.order", "modules.builtin"):
        (modules / name).write_text("")
    return tmp_path / "root"


def listing(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if not p.name.startswith("modules.")}


def test_install_and_uninstall(root: Path, keys: tuple[Path, Path]) -> None:
    before = listing(root)
    target = install.install(kernel.resolve(SERIES), root=root, signer=signing.signer(*keys))
    assert target.parts[-2:] == ("updates", "l2wireguard.ko")
    assert field(target, "signer") == NAME
    dep = target.parents[1] / "modules.dep"
    alias = target.parents[1] / "modules.alias"
    assert dep.read_text().startswith("updates/l2wireguard.ko:")
    assert "alias rtnl-link-l2wireguard l2wireguard" in alias.read_text()
    # once more is an upgrade
    assert install.install(kernel.resolve(SERIES), root=root) == target
    assert field(target, "signer") == ""
    install.uninstall(kernel.release_of(SERIES), root=root)
    assert listing(root) == before
    assert "l2wireguard" not in dep.read_text() + alias.read_text()
    with pytest.raises(ToolError, match="not there, nothing to uninstall$"):
        install.uninstall(kernel.release_of(SERIES), root=root)


def test_install_where_depmod_fails_leaves_what_was(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_depmod(*_: object) -> None:
        raise ToolError("depmod failed")

    before = listing(root)
    with monkeypatch.context() as patched:
        patched.setattr(install, "_depmod", no_depmod)
        with pytest.raises(ToolError, match="depmod failed"):
            install.install(kernel.resolve(SERIES), root=root)
    assert listing(root) == before
    target = install.install(kernel.resolve(SERIES), root=root)
    old = target.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(install, "_depmod", no_depmod)
        with pytest.raises(ToolError, match="depmod failed"):
            install.install(kernel.resolve(SERIES), root=root)
    assert target.read_bytes() == old
    assert [p.name for p in target.parent.iterdir()] == ["l2wireguard.ko"]


def test_install_beside_dkms_is_refused(root: Path) -> None:
    modules = next((root / "lib/modules").iterdir())
    (modules / "updates/dkms").mkdir(parents=True)
    (modules / "updates/dkms/l2wireguard.ko").touch()
    with pytest.raises(ToolError, match="DKMS has installed the module for this kernel"):
        install.install(kernel.resolve(SERIES), root=root)
    with pytest.raises(ToolError, match="apt-get purge l2wireguard-dkms"):
        install.uninstall(kernel.release_of(SERIES), root=root)
    shutil.rmtree(root)
    with pytest.raises(ToolError, match="no modules of that kernel there"):
        install.install(kernel.resolve(SERIES), root=root)


#: In a guest that takes signed modules only: Debian's, which are signed with its kernel's own key;
#: ours without a signature; and ours with the signature of a key that nobody has enrolled.
INSIST = """
echo 1 >/sys/module/module/parameters/sig_enforce
modprobe -r wireguard l2wireguard
modprobe wireguard && echo "Debian's: loaded"
modprobe l2wireguard; echo "not signed: status $?"
python3 -m l2wgctl doctor | grep ' module'
insmod {signed}; echo "signed: status $?"
dmesg | grep -i 'loading of'
"""


def test_a_kernel_that_insists(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """With module.sig_enforce=1 an unsigned module is refused, and the doctor says what to do."""
    found = kernel.resolve("5.10")
    signed = build.build(found, output=tmp_path, signer=signing.signer(*keys)).file
    shared = tmp_path / "guest"
    shared.mkdir()
    shutil.copy(signed, shared)
    script = INSIST.format(signed=shared / signed.name)
    said = labs.make(found).run(["sh", "-c", script], folder=shared).output
    assert "Debian's: loaded" in said
    assert "not signed: status 1" in said
    assert "signed: status 1" in said.split("not signed: status 1")[1]
    assert (
        "(the installed module is not signed, and this kernel takes no other: 'sudo ./inv install "
        "--sign KEY CERT', with a key that the machine trusts)"
    ) in said
    # in the kernel's words, which a person finds with dmesg
    assert "module with unavailable key is rejected" in said
