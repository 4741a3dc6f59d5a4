"""Times a kernel in repeats long enough to be timed, and says how sure the median of them is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

Clock = Callable[[], float]

# A repeat lasts at least this long, so that the clock and the dispatch of a call weigh little in it.
REPEAT_SECONDS = 0.02
# With fewer values no pair of order statistics covers the median with 95 %: of five it is 1 - 2 / 2^5 = 94 %.
MIN_REPEATS = 6
# A slow kernel gets more time than asked for to reach MIN_REPEATS, up to this many times as much.
PATIENCE = 4
_MAX_CALLS_A_REPEAT = 2**16


def seconds_per_call(run: Callable[[int], None], seconds: float, *, clock: Clock) -> list[float]:
    """Times repeats of a kernel, each of enough calls to last `REPEAT_SECONDS`, until the time is used.

    Args:
        run: makes that many calls and returns when the last one's result is there.
        seconds: time to use, warm-up included; more, up to `PATIENCE` times as much, where there would be
            fewer than `MIN_REPEATS`; and whatever one call to warm up and one repeat take.
        clock: monotonic seconds.

    Returns:
        Seconds of a call, one value for each repeat.
    """
    began = clock()
    run(1)
    calls, first = enough_calls(run, clock, REPEAT_SECONDS, _MAX_CALLS_A_REPEAT)
    timed = [first]
    while clock() - began < (seconds if len(timed) >= MIN_REPEATS else PATIENCE * seconds):
        timed.append(elapsed(run, calls, clock) / calls)
    return timed


def median_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The median and the ends of its 95 % interval by order statistics (no distribution assumed).

    The interval is that of independent values; its ends are None for fewer than `MIN_REPEATS`.
    """
    ordered = sorted(values)
    count, left_out, tail = len(ordered), 0, 1
    # The interval from the j-th value to the j-th from the end misses the median with probability
    # 2 P(Binomial(count, 1/2) < j), at most 5 %. `tail` is that P times 2^count for j = left_out + 1.
    while 40 * tail <= 2**count:
        left_out += 1
        tail += math.comb(count, left_out)
    median = statistics.median(ordered)
    return (median, ordered[left_out - 1], ordered[count - left_out]) if left_out else (median, None, None)


def why_no_interval(repeats: int) -> str | None:
    """The reason why a median of so many repeats has no interval, or None where it has one."""
    if repeats >= MIN_REPEATS:
        return None
    return f"too few repeats fitted into the time for an interval: {repeats} of {MIN_REPEATS}"


def enough_calls(
    run: Callable[[int], None], clock: Clock, least_seconds: float, most_calls: int
) -> tuple[int, float]:
    """The number of calls that lasts long enough, by doubling, and the seconds of one of them."""
    calls = 1
    while (seconds := elapsed(run, calls, clock)) < least_seconds and calls < most_calls:
        calls *= 2
    return calls, seconds / calls


def elapsed(run: Callable[[int], None], calls: int, clock: Clock) -> float:
    start = clock()
    run(calls)
    return clock() - start
