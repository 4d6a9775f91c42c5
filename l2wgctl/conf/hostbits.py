# SPDX-License-Identifier: GPL-2.0
"""Networks with bits set beyond their prefix: what is meant is not certain. Pure."""

from __future__ import annotations

from ..model import AllowedIP
from .values import masked


def host_bits(network: AllowedIP) -> str | None:
    """The network as it is meant when host bits are set, else None."""
    address, prefix, _ = network
    if prefix == len(address) * 8:
        return None
    clean = masked(address, prefix)
    return None if clean == address else str(AllowedIP(clean, prefix))


def warning(name: str, text: str, network: AllowedIP) -> tuple[str, str] | None:
    """What to warn of, and the hint, where a network has host bits; else None."""
    meant = host_bits(network)
    if not meant:
        return None
    hint = f"the kernel takes it as {meant}"
    if name.lower().startswith("host"):
        hint = f"no peer may use any address of {meant}; one alone is {text.partition('/')[0]}"
    return f"{name} '{text}' has bits set beyond its prefix", hint
