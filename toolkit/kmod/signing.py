# SPDX-License-Identifier: GPL-2.0
"""Signing a module, for kernels that insist on it (Secure Boot): by the kernel's own sign-file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.run import run

#: What sign-file says, in OpenSSL's words -> what that means.
REASONS = (
    (r"key values mismatch|does not match certificate", "the certificate is not that key's"),
    (r"bad decrypt|bad password|empty password|problems getting password", "the key's passphrase"),
    (r"no start line|wrong tag|nested asn1|unsupported", "not a PEM key and a certificate"),
)


@dataclass(frozen=True)
class Signer:
    """A key, and its certificate, which the machine trusts.

    We keep only the path of the key, and give it to sign-file.

    :ivar key: private key, PEM.
    :ivar certificate: X.509 certificate, PEM or DER.
    """

    key: Path
    certificate: Path

    @property
    def identity(self) -> str:
        """A hash of the certificate: modules signed by different keys are different."""
        return hashlib.sha256(self.certificate.read_bytes()).hexdigest()


def signer(key: str | Path | None, certificate: str | Path | None) -> Signer | None:
    """What `--sign KEY CERT` names; None if it names nothing.

    :raises ToolError: one of the two is not named, is missing or cannot be read, or they are in the
        wrong order.
    """
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        missing = "certificate" if key else "key"
        raise ToolError(f"--sign: no {missing} to sign with", "--sign KEY CERT, two files")
    key, certificate = Path(key), Path(certificate)
    for path, what in ((key, "key"), (certificate, "certificate")):
        if not path.is_file():
            raise ToolError(f"{path}: no such {what} to sign with", "--sign KEY CERT, two files")
        if not os.access(path, os.R_OK):
            raise ToolError(f"{path}: the {what} cannot be read", "as root, or by its owner")
    if b"PRIVATE KEY-----" not in key.read_bytes():
        raise ToolError(
            f"{key}: not a private key in PEM", "--sign KEY CERT, the private key first"
        )
    given = certificate.read_bytes()
    if b"PRIVATE KEY-----" in given and b"CERTIFICATE-----" not in given:
        raise ToolError(
            f"{certificate}: a private key, not a certificate", "--sign KEY CERT, in this order"
        )
    return Signer(key.resolve(), certificate.resolve())


def sign(module: Path, by: Signer, kernel: Kernel) -> None:
    """Append the signature to a module, with the hash that the kernel's configuration names.

    A passphrase comes from ``KBUILD_SIGN_PIN`` in the environment, as in the kernel's own build.

    :raises ToolError: the kernel does not check signatures, there is no sign-file, or it fails.
    """
    # sign-file replaces its target only if it has succeeded
    tried = run([sign_file(kernel), _hash(kernel), by.key, by.certificate, module], check=False)
    if tried.returncode:
        raise ToolError(f"signing with {by.certificate.name}: {_reason(tried.stderr)}")
    if not run(["modinfo", "--field", "sig_key", module]).stdout.strip():
        raise ToolError(f"{module}: sign-file left no signature")


def _reason(said: str) -> str:
    for pattern, reason in REASONS:
        if re.search(pattern, said, re.IGNORECASE):
            hint = " is wrong or missing (KBUILD_SIGN_PIN)" if "passphrase" in reason else ""
            return reason + hint
    return (said.strip().splitlines() or ["sign-file failed without a word"])[-1]


def _hash(kernel: Kernel) -> str:
    config = kernel.build / ".config"
    text = config.read_text() if config.exists() else ""
    if "CONFIG_MODULE_SIG=y" not in text:
        raise ToolError(
            f"{kernel.label} does not check signatures: its CONFIG_MODULE_SIG is not set",
            "build without --sign",
        )
    found = re.search(r'^CONFIG_MODULE_SIG_HASH="(\w+)"', text, re.MULTILINE)
    return found[1] if found else "sha256"


def sign_file(kernel: Kernel) -> Path:
    """The kernel's sign-file, or that of another kernel if the kernel's does not run here.

    The sign-file of another Debian release may need another libcrypto. All make the same: the
    format (PKCS#7 behind the module, include/linux/module_signature.h) has not changed since Linux
    4.3.

    :raises ToolError: there is none that runs.
    """
    for candidate in _candidates(kernel):
        # without arguments it prints its usage and fails, if it starts at all
        if (
            candidate.exists()
            and "Usage: scripts/sign-file" in run([candidate], check=False).stderr
        ):
            return candidate
    raise ToolError(
        f"no sign-file that runs here, in {kernel.build} or elsewhere",
        "apt-get install linux-kbuild-6.1",
    )


def _candidates(kernel: Kernel) -> Iterator[Path]:
    yield kernel.build / "scripts/sign-file"
    for root in (Path("/"), *sorted((paths.cache() / "headers").glob("*"), reverse=True)):
        yield from sorted((root / "usr/lib").glob("linux-kbuild-*/scripts/sign-file"), reverse=True)
