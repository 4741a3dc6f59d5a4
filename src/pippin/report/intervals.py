"""The interval of a ratio of two speeds, from the windows of one or more runs a side.

Windows that follow one another are alike, and runs differ from one another by more than their windows
tell. So the logarithm of a window's speed is modelled as its side's, plus an effect of its run, plus noise in
which a window remembers the one before it (an autoregression of first order). How long that memory is and
how large the effects of runs are is not known: a grid of both is weighed by how well it explains the windows
of both sides, as Bayes has it, and the two sides' speeds are drawn from what results. Each side has a
noise of its own. A run enters as a whole and a window as one value: single steps, of which there are many
and of which neighbours are nearly copies, never do. `docs/compare.md` has the coverage on simulated runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Runs = Sequence[Floats]  # of each run, the logarithms of its windows' speeds in the order of time

# How much a window remembers of the one before it: 0 nothing, 1 all. Each value is as likely beforehand.
_MEMORY = np.linspace(0, 0.95, 20)
# Variance of the effects of runs over that of windows within a run, and how likely each is beforehand.
_EFFECT = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0])
_LIKELY_OF_SEVERAL = np.array([0.40, 0.20, 0.20, 0.10, 0.06, 0.04])
# With one run a side the windows say nothing of what differs between runs, and what is assumed beforehand is
# all that the interval has of it. Chosen so that simulated pairs of runs without such effects are covered
# 95 to 99 times in 100, and those with modest ones (0.1) still above 90.
_LIKELY_OF_ONE = np.array([0.80, 0.08, 0.06, 0.04, 0.015, 0.005])
_DRAWS = 10_000
_SMALLEST = 1e-24  # keeps the logarithm finite where all windows are equal


class LogRatio(NamedTuple):
    """The logarithm of a ratio, and how far from it its 95 % interval reaches to both sides."""

    value: float
    reach: float


def log_ratio(a: Runs, b: Runs) -> LogRatio:
    """Log of B's speed over A's, with its interval; `a` and `b` need two windows each at least.

    A side's speed is the mean over its runs of the mean over their windows.
    """
    centre_a, centre_b = _mean(a), _mean(b)
    several = len(a) > 1 or len(b) > 1
    likely = np.log(_LIKELY_OF_SEVERAL if several else _LIKELY_OF_ONE)
    side_a, side_b = _side([run - centre_a for run in a]), _side([run - centre_b for run in b])
    weight = side_a.log_weight + side_b.log_weight + likely
    share = np.exp(weight - weight.max()).ravel()
    random = np.random.default_rng(0)
    cell = random.choice(share.size, _DRAWS, p=share / share.sum())
    draws = side_b.draw(cell, random) - side_a.draw(cell, random)
    return LogRatio(centre_b - centre_a, float(np.quantile(np.abs(draws), 0.95)))


def _mean(runs: Runs) -> float:
    return float(np.mean([np.mean(run) for run in runs]))


class _Side(NamedTuple):
    """Given each memory (rows) and effect (columns): a Student t of the side's log speed, and its weight."""

    centre: Floats
    scale: Floats
    freedom: int
    log_weight: Floats

    def draw(self, cell: NDArray[np.int64], random: np.random.Generator) -> Floats:
        noise = random.standard_t(self.freedom, cell.size)
        drawn: Floats = self.centre.ravel()[cell] + self.scale.ravel()[cell] * noise
        return drawn


def _side(runs: Runs) -> _Side:
    """Integrates the side's mean (flat) and its noise (1 / sigma) out of the normal likelihood."""
    precision = weighted = squares = log_determinant = np.zeros(())
    for run in runs:
        ones, cross, own, determinant = (part[:, None] for part in _whitened(run))
        grown = 1 + _EFFECT * ones  # Sherman-Morrison: covariance of the noise plus effect * 1 1'
        precision = precision + ones / grown
        weighted = weighted + cross / grown
        squares = squares + own - _EFFECT * cross**2 / grown
        log_determinant = log_determinant + determinant + np.log(grown)
    freedom = sum(run.size for run in runs) - 1
    centre = weighted / precision
    rest = np.maximum(squares - weighted * centre, _SMALLEST)
    log_weight = -(log_determinant + np.log(precision) + freedom * np.log(rest)) / 2
    return _Side(centre, np.sqrt(rest / freedom / precision), freedom, log_weight)


def _whitened(run: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """1'C1, 1'Cy, y'Cy and -log det C for each memory, C the inverse of the noise's correlation.

    The correlation of windows i and j is memory ** |i - j|; its inverse has three diagonals.
    """
    if run.size == 1:
        one = np.ones_like(_MEMORY)
        return one, one * run[0], one * run[0] ** 2, 0 * one
    left = 1 - _MEMORY**2
    ends, inner = run[0] + run[-1], run[1:-1]
    ones = (run.size - (run.size - 2) * _MEMORY) / (1 + _MEMORY)
    cross = ((1 - _MEMORY) * ends + (1 - _MEMORY) ** 2 * inner.sum()) / left
    neighbours = float(run[1:] @ run[:-1])
    own = (float(run @ run) + _MEMORY**2 * float(inner @ inner) - 2 * _MEMORY * neighbours) / left
    return ones, cross, own, (run.size - 1) * np.log(left)
