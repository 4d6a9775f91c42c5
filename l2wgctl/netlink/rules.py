# SPDX-License-Identifier: GPL-2.0
"""Policy rules (ip-rule(8))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: FR_ACT_TO_TBL, FIB_RULE_INVERT of include/uapi/linux/fib_rules.h; what a rule without
#: FRA_SUPPRESS_PREFIXLEN reports; and the priority of the main table's rule.
FR_ACT_TO_TBL = 1
FIB_RULE_INVERT = 2
NO_PREFIX = 0xFFFFFFFF
MAIN_PRIORITY = 32766


class Rules:
    """The part of `Links` that is about policy rules."""

    if TYPE_CHECKING:
        _ipr: Any

        def _doing(self, name: str, doing: str) -> AbstractContextManager[None]: ...

    def rule_priority(self, family: int, **values: int) -> int | None:
        """The priority of the policy rule of AF_INET or AF_INET6, or None if there is none.

        :param values: `table`, and of `fwmark`, `flags` and `FRA_SUPPRESS_PREFIXLEN` those that
            the rule has.
        """
        with self._doing("", "list policy rules"):
            for message in self._ipr.get_rules(family=family):
                suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
                if (
                    message.get_attr("FRA_TABLE") == values["table"]
                    and (message.get_attr("FRA_FWMARK") or 0) == values.get("fwmark", 0)
                    and message["flags"] & FIB_RULE_INVERT == values.get("flags", 0)
                    and (None if suppress == NO_PREFIX else suppress)
                    == values.get("FRA_SUPPRESS_PREFIXLEN")
                ):
                    return message.get_attr("FRA_PRIORITY") or 0
        return None

    def rule(self, command: str, family: int, **values: int) -> None:
        """Add or delete (`command` add, del) a policy rule of AF_INET or AF_INET6.

        A new one goes before all but that of the local table, as where `ip rule add` puts it.
        """
        doing = f"{command} policy rule"
        if command == "del":
            priority = self.rule_priority(family, **values)
        else:
            with self._doing("", doing):
                rules = self._ipr.get_rules(family=family)
                others = [message.get_attr("FRA_PRIORITY") or 0 for message in rules]
            priority = min([p for p in others if p] or [MAIN_PRIORITY]) - 1
        with self._doing("", doing):
            self._ipr.rule(
                command, family=family, action=FR_ACT_TO_TBL, priority=priority or 0, **values
            )
