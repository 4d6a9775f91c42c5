# SPDX-License-Identifier: GPL-2.0
"""What is wrong with an agent now: each thing is said once when it comes, and once when it goes."""

from __future__ import annotations

from typing import Callable

from ..errors import Problem


class Faults:
    """What is wrong now; each is said once when it comes, and once when it is over."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.now: dict[str, Problem] = {}

    def put(self, about: str, problem: Problem | None, over: str) -> bool:
        """The state of one thing; whether that is news, which the next report has to have.

        :param problem: None: it is well.
        :param over: what to say when it is well again.
        """
        before = self.now.get(about)
        if problem is not None:
            self.now[about] = problem
            if before is None:
                self._say(str(problem))
        elif before is not None:
            del self.now[about]
            self._say(over)
        return problem != before
