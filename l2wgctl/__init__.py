# SPDX-License-Identifier: GPL-2.0
"""The control plane of L2 WireGuard: links, keys and peers, over netlink.

    from l2wgctl import Device, Peer, get_device, set_device

The names below are the public interface; they are loaded when they are first used, so that
`import l2wgctl` costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for True; `typing` takes 3 ms to load
if TYPE_CHECKING:
    from .conf.files import load as load_config  # noqa: F401
    from .conf.parse import Config as Config
    from .conf.parse import parse as parse_config  # noqa: F401
    from .errors import ConfigError as ConfigError
    from .errors import KernelError as KernelError
    from .errors import L2wgError as L2wgError
    from .errors import Problem as Problem
    from .keys import generate_preshared_key as generate_preshared_key
    from .keys import generate_private_key as generate_private_key
    from .keys import public_key as public_key
    from .model import AllowedIP as AllowedIP
    from .model import Device as Device
    from .model import Endpoint as Endpoint
    from .model import Key as Key
    from .model import LinkOptions as LinkOptions
    from .model import Peer as Peer
    from .model import SecretKey as SecretKey
    from .model import Vlan as Vlan
    from .netlink.device import WireGuard as WireGuard
    from .netlink.device import get_device as get_device
    from .netlink.device import set_device as set_device
    from .netlink.switch import Switches as Switches
    from .switch import Entry as Entry
    from .switch import Event as Event
    from .switch import PeerOptions as PeerOptions
    from .switch import PeerState as PeerState
    from .switch import SwitchOptions as SwitchOptions
    from .switch import SwitchState as SwitchState

_PUBLIC = {
    "Config": ("conf.parse", "Config"),
    "load_config": ("conf.files", "load"),
    "parse_config": ("conf.parse", "parse"),
    "ConfigError": ("errors", "ConfigError"),
    "KernelError": ("errors", "KernelError"),
    "L2wgError": ("errors", "L2wgError"),
    "Problem": ("errors", "Problem"),
    "WireGuard": ("netlink.device", "WireGuard"),
    "get_device": ("netlink.device", "get_device"),
    "set_device": ("netlink.device", "set_device"),
    "Switches": ("netlink.switch", "Switches"),
    "Entry": ("switch", "Entry"),
    "Event": ("switch", "Event"),
    "PeerOptions": ("switch", "PeerOptions"),
    "PeerState": ("switch", "PeerState"),
    "SwitchOptions": ("switch", "SwitchOptions"),
    "SwitchState": ("switch", "SwitchState"),
    "generate_preshared_key": ("keys", "generate_preshared_key"),
    "generate_private_key": ("keys", "generate_private_key"),
    "public_key": ("keys", "public_key"),
    "AllowedIP": ("model", "AllowedIP"),
    "Device": ("model", "Device"),
    "Endpoint": ("model", "Endpoint"),
    "Key": ("model", "Key"),
    "LinkOptions": ("model", "LinkOptions"),
    "Peer": ("model", "Peer"),
    "SecretKey": ("model", "SecretKey"),
    "Vlan": ("model", "Vlan"),
}
__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'l2wgctl' has no attribute '{name}'")
    from importlib import import_module

    module, attribute = _PUBLIC[name]
    value = getattr(import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
