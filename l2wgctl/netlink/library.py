# SPDX-License-Identifier: GPL-2.0
"""What we use of pyroute2, without the rest.

Its `__init__` imports all that it offers: a data base of links (with sqlite3), nftables, Wi-Fi, 9p.
That took a third of the time of `l2wgctl up`. Once this module is imported, an import of one of
pyroute2's modules runs that module and what it needs, and `__init__` only when somebody asks the
package for a name that is no module's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

NAME = "pyroute2"


class _Package(ModuleType):
    """A package whose `__init__` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        module = f"{self.__name__}.{name}"
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ and self.__spec__.loader
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _prepare() -> None:
    spec = find_spec(NAME)
    if spec and NAME not in sys.modules:  # if it is missing, whoever imports it says so
        package = module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[NAME] = package
        # so that its warnings do not reach stderr, which only `__init__` sees to
        import_module(f"{NAME}.config.log")


_prepare()

from pyroute2.iproute import IPRoute  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkError  # noqa: E402
from pyroute2.netns import setns  # noqa: E402

__all__ = ["IPRoute", "NetlinkError", "setns"]
