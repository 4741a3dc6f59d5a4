"""A search under a deadline: the least cost among what ends in time, the soonest where nothing does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pippin.plan.layout import Integers
from pippin.plan.search import Ranking, Weigh


@dataclass(frozen=True)
class Deadline:
    """Wall seconds that a lasting step may take: the days allowed over the steps of the run.

    `time` gives the wall seconds of a second of step, `cost` what the objective makes of it.
    """

    seconds: float
    time: Weigh
    cost: Weigh

    def meet(self, search: Callable[[Weigh], Ranking]) -> Ranking:
        """The ranking by cost without what is too slow.

        If none of its kept layouts is in time, those of the ranking by time are looked at: the cheapest of
        them that is. So the result is in time if anything is, and the cheapest of the up to 128 that were
        kept, not of all.
        """
        by_cost = search(self.cost)
        in_time = self._in_time(by_cost)
        if in_time.size or not len(by_cost):
            return _take(by_cost, in_time)
        by_time = search(self.time)
        in_time = self._in_time(by_time)
        if not in_time.size:
            return by_time
        cost = by_time.step_seconds * self.cost(by_time.layouts.chips, by_time.layouts.data)
        return _take(by_time, in_time[np.argsort(cost[in_time], kind="stable")])

    def _in_time(self, ranking: Ranking) -> Integers:
        """Places of the layouts that end in time."""
        wall = ranking.step_seconds * self.time(ranking.layouts.chips, ranking.layouts.data)
        return np.flatnonzero(wall <= self.seconds)


def _take(ranking: Ranking, order: Integers) -> Ranking:
    return replace(
        ranking,
        layouts=ranking.layouts.take(order),
        step_seconds=ranking.step_seconds[order],
        memory_bytes=ranking.memory_bytes[order],
    )
