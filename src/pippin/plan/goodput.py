"""What share of the wall time moves training forward when chips fail. Arrays in, arrays out, seconds.

Failures are a Poisson process: they strike any chip of the fleet at a constant rate, one at a time, also
during a checkpoint and during a restart. `mtbf` below is the fleet's mean time between failures, a chip's
over the number of chips. What this leaves out stands in docs/goodput.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pippin.plan.layout import Floats

YEAR_SECONDS = 365.25 * 86_400
_NEWTON_STEPS = 40


def fleet_mtbf(chip_mtbf_years: Any, chips: Any) -> Floats:
    """Seconds between failures somewhere in a fleet of so many chips."""
    return np.asarray(np.asarray(chip_mtbf_years, float) * YEAR_SECONDS / np.asarray(chips, float))


def young_interval(mtbf: Any, checkpoint: Any) -> Floats:
    """Work between two checkpoints by Young (1974), `sqrt(2 C m)`: good where C is far below m."""
    return np.asarray(np.sqrt(2 * np.asarray(checkpoint, float) * mtbf))


def availability_interval(mtbf: Any, restart: Any, checkpoint: Any) -> Floats:
    """Time from one checkpoint to the next, the checkpoint itself included, that makes availability largest
    to first order: `C + sqrt(2 (m + R) C + C^2)` (arXiv 2410.18124)."""
    c = np.asarray(checkpoint, float)
    return np.asarray(c + np.sqrt(2 * (np.asarray(mtbf, float) + restart) * c + c * c))


def best_interval(mtbf: Any, checkpoint: Any) -> Floats:
    """Work between two checkpoints that makes `synchronous_efficiency` largest.

    With x = (T + C)/m the derivative vanishes where x - C/m = 1 - exp(-x); Newton's method from the right
    of the root of that convex function. The restart time does not matter.
    """
    m, c = np.broadcast_arrays(np.asarray(mtbf, float), np.asarray(checkpoint, float))
    share = c / m
    x = share + np.sqrt(2 * share)
    for _ in range(_NEWTON_STEPS):
        slope = -np.expm1(-x)
        x = np.where(slope > 0, x - (x - share - slope) / np.where(slope > 0, slope, 1), x)
    return np.asarray(x * m - c)


def synchronous_efficiency(mtbf: Any, restart: Any, checkpoint: Any, interval: Any = None) -> Floats:
    """Share of the wall time that becomes lasting work where every failure stops every chip.

    Daly (2006): work of T seconds and a checkpoint of C take `m exp(R/m) (exp((T + C)/m) - 1)` on average,
    a failed attempt costing a restart R that may itself be struck.

    Args:
        mtbf: of the fleet.
        restart: from the failure until training goes on, detection included.
        checkpoint: seconds that a checkpoint stops training.
        interval: work between checkpoints; by default the best.
    """
    m, r, c = (np.asarray(x, float) for x in (mtbf, restart, checkpoint))
    t = best_interval(m, c) if interval is None else np.asarray(interval, float)
    with np.errstate(over="ignore"):  # a fleet that never gets through: exp overflows, the share is 0
        share = np.where(t > 0, (t / m) / np.expm1(np.maximum((t + c) / m, 1e-300)), 1.0)
        return np.asarray(share * np.exp(-r / m))


def replica_efficiency(mtbf: Any, stall: Any, down: Any, replicas: Any) -> Floats:
    """As above, where a failure stalls all for S and takes only its replica, 1 of M, out for D.

    `m/(m + S)` is the share outside stalls, `m M/(m M + D)` that of the replicas at work; to first order
    `(1 - S/(m + S)) (1 - D/(m M))`. Work is lost by the failed replica alone, and counted in D.
    """
    m, s = np.asarray(mtbf, float), np.asarray(stall, float)
    own = m * replicas
    return np.asarray(m / (m + s) * own / (own + down))


def asynchronous_efficiency(mtbf: Any, down: Any, lost: Any, learners: Any) -> Floats:
    """As above for M learners that wait for nobody: `(m M - L)/(m M + D)`, not below 0.

    A learner fails every m M on average, loses L of its work (half the time between its outer steps, or next
    to nothing where a peer holds a copy) and is away for D.
    """
    own = np.asarray(mtbf, float) * learners
    return np.asarray(np.maximum(own - lost, 0) / (own + down))


def poisson_tail(mean: float, count: int) -> float:
    """P(K > count) for K Poisson."""
    if mean <= 0:
        return 0.0
    steps = np.log(mean) - np.log(np.arange(1, count + 1))  # log P(k) - log P(k - 1)
    below = np.exp(np.concatenate([[-mean], np.cumsum(steps) - mean])).sum()
    return min(1.0, max(0.0, 1.0 - float(below)))


def nodes_under_repair(chip_mtbf_years: float, chips: int, repair_seconds: float) -> float:
    """Mean number of nodes that are being replaced: failures arrive as a Poisson process, each takes its node
    away for a while of whatever distribution, so that the number away is Poisson too (M/G/infinity)."""
    return chips * repair_seconds / (chip_mtbf_years * YEAR_SECONDS)


def spares_needed(nodes_away: float, shortage: float = 0.01) -> int:
    """Hot spare nodes with which more are away than there are spares for at most this share of the time."""
    low, high = -1, max(1, math.ceil(nodes_away))
    while poisson_tail(nodes_away, high) > shortage:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if poisson_tail(nodes_away, middle) > shortage else (low, middle)
    return 0 if poisson_tail(nodes_away, 0) <= shortage else high
