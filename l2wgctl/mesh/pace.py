# SPDX-License-Identifier: GPL-2.0
"""When to try again, and when to do the periodic: never all hosts at one moment.

A hundred agents that lose their store in the same second must not come back in the same second.
"""

from __future__ import annotations

import random
from typing import Callable

#: A number of [0, 1).
Chance = Callable[[], float]


def jittered(seconds: float, chance: Chance = random.random) -> float:
    """Nine to eleven tenths of a time."""
    return seconds * (0.9 + 0.2 * chance())


class Backoff:
    """How long to wait after a failure: twice as long each time, and a random part of that.

    :param first: seconds after the first failure, at most.
    :param most: seconds that it does not grow beyond.
    """

    def __init__(self, first: float = 1.0, most: float = 30.0, chance: Chance = random.random):
        self._first = first
        self._most = most
        self._chance = chance
        self.failures = 0

    def failed(self) -> float:
        """Seconds to wait now: from half of the present step to the whole of it."""
        step = min(self._most, self._first * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return step * (0.5 + 0.5 * self._chance())

    def worked(self) -> None:
        """Begin with the first step again."""
        self.failures = 0
