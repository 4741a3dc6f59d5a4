"""From operations that overlap to seconds of each part that add up to the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pippin.assay.hlo import Operation

# Time in which none of the operations ran.
NOTHING = "nothing"


class Ran(NamedTuple):
    """An operation that ran on a device, from `start` to `stop` in nanoseconds."""

    start: float
    stop: float
    operation: Operation


def divided(ran: Iterable[Ran], start: float, stop: float) -> dict[str, float]:
    """Nanoseconds of each part between `start` and `stop`; with those of `NOTHING` they add up to all.

    Each moment belongs in equal shares to the operations that run then and have the highest rank of these.
    """
    changes = []
    for each in ran:
        first, last = max(each.start, start), min(each.stop, stop)
        if first < last:
            changes += [(first, 1, each.operation), (last, -1, each.operation)]
    changes.sort(key=lambda change: change[0])
    seconds: dict[str, float] = {}
    running: dict[Operation, int] = {}
    now = start
    for moment, change, operation in changes:
        if moment > now:
            _share_out(seconds, running, moment - now)
            now = moment
        running[operation] = running.get(operation, 0) + change
        if not running[operation]:
            del running[operation]
    seconds[NOTHING] = seconds.get(NOTHING, 0.0) + stop - now
    return seconds


def _share_out(seconds: dict[str, float], running: dict[Operation, int], time: float) -> None:
    rank = max((operation.rank for operation in running), default=None)
    highest = {operation: count for operation, count in running.items() if operation.rank == rank}
    total = sum(highest.values())
    for operation, count in highest.items():
        seconds[operation.part] = seconds.get(operation.part, 0.0) + time * count / total
    if not highest:
        seconds[NOTHING] = seconds.get(NOTHING, 0.0) + time
