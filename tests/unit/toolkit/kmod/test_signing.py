# SPDX-License-Identifier: GPL-2.0
"""Signing: what `--sign KEY CERT` says of files that are not what they should be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import signing

KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
CERT = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "cert").write_text(CERT)
    (tmp_path / "both").write_text(KEY + CERT)
    (tmp_path / "der").write_bytes(b"\x30\x82\x03")
    (tmp_path / "text").write_text("hello\n")
    return tmp_path


@pytest.mark.parametrize(("key", "cert"), [("key", "cert"), ("key", "der"), ("both", "both")])
def test_a_key_and_a_certificate(files: Path, key: str, cert: str) -> None:
    signer = signing.signer(files / key, files / cert)
    assert signer == signing.Signer(files / key, files / cert)


def test_nothing_to_sign_with() -> None:
    assert signing.signer(None, None) is None


HINT = " (--sign KEY CERT, two files)"


@pytest.mark.parametrize(
    ("key", "cert", "line"),
    [
        ("none", "cert", "{}/none: no such key to sign with" + HINT),
        ("key", "none", "{}/none: no such certificate to sign with" + HINT),
        ("key", None, "--sign: no certificate to sign with" + HINT),
        (None, "cert", "--sign: no key to sign with" + HINT),
        (
            *("cert", "key"),
            "{}/cert: not a private key in PEM (--sign KEY CERT, the private key first)",
        ),
        (
            *("text", "cert"),
            "{}/text: not a private key in PEM (--sign KEY CERT, the private key first)",
        ),
        (
            *("key", "key"),
            "{}/key: a private key, not a certificate (--sign KEY CERT, in this order)",
        ),
    ],
)
def test_what_is_wrong(files: Path, key: str | None, cert: str | None, line: str) -> None:
    with pytest.raises(ToolError) as error:
        signing.signer(files / key if key else None, files / cert if cert else None)
    assert str(error.value) == line.format(files)


def kernel(folder: Path, config: str) -> Kernel:
    (folder / ".config").write_text(config)
    made = Kernel("6.1.0-56-amd64", folder)
    made.__dict__["version"] = "6.1.192"
    return made


def test_the_hash_is_the_kernels(tmp_path: Path) -> None:
    config = 'CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_HASH="sha512"\n'
    assert signing._hash(kernel(tmp_path, config)) == "sha512"


def test_a_kernel_without_signatures(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as error:
        signing._hash(kernel(tmp_path, "# CONFIG_MODULE_SIG is not set\n"))
    assert str(error.value) == (
        "6.1.0-56-amd64 (Linux 6.1.192) does not check signatures: its CONFIG_MODULE_SIG is not set"
        " (build without --sign)"
    )


#: The loop in `./inv` that makes two options of `--sign KEY CERT`.
LOOP = (paths.ROOT / "inv").read_text().split("before=''", 1)[1].split("\ndone", 1)[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("build-module --sign K C", "build-module --sign K --cert C"),
        ("build-module --sign K C --debug", "build-module --sign K --cert C --debug"),
        ("build-module --sign K --cert C", "build-module --sign K --cert C"),
        ("build-module --kernel 6.1 --sign K", "build-module --kernel 6.1 --sign K"),
        ("lab -- echo 'two words' *", "lab -- echo 'two words' *"),
        ("", ""),
    ],
)
def test_inv_takes_both_after_one_option(typed: str, meant: str) -> None:
    script = f"before=''{LOOP}\ndone\nfor word; do printf '[%s]' \"$word\"; done"
    told = subprocess.run(
        ["sh", "-f", "-c", f"set -- {typed}\n{script}"], capture_output=True, text=True, check=True
    )
    wanted = subprocess.run(
        ["sh", "-f", "-c", f"set -- {meant}\nfor word; do printf '[%s]' \"$word\"; done"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == wanted.stdout
