"""Coverage of the intervals of `pippin compare` on simulated runs: the tables of docs/compare.md.

    python benchmarks/compare_coverage.py [--pairs 400] [--bootstrap]

The logarithm of a window's speed is a level, plus an effect of its run, plus noise with a memory from one
window to the next. `covered` counts the pairs of equal machines whose interval has 1 in it; `found` those of
a machine and one 10 % faster whose interval leaves 1 out. The noise of a window is 3 %. With `--bootstrap`
the same runs are also given to the plain bootstrap: runs drawn with replacement, then windows of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from pippin.report.intervals import Floats, LogRatio, Runs, log_ratio

NOISE = 0.03
SETTINGS = [
    (runs, windows, effect, memory)
    for runs, windows in ((1, 5), (1, 10), (1, 20), (2, 20), (3, 20), (5, 20), (5, 1))
    for effect in (0.0, 0.3, 1.0)
    for memory in (0.0, 0.3, 0.6, 0.8)
    if windows > 1 or memory == 0
]
BOOTSTRAPPED = [
    (runs, windows, effect, memory)
    for runs, windows in ((1, 5), (1, 20), (3, 10))
    for effect in (0.0, 0.3, 1.0)
    for memory in (0.0, 0.6)
]
RESAMPLES = 2000
Interval = Callable[[Runs, Runs], LogRatio]


def simulate(
    random: np.random.Generator, runs: int, windows: int, memory: float, effect: float, gain: float = 0.0
) -> list[Floats]:
    """Runs of one machine: log speeds around `gain`.

    Args:
        random: where the noise is from.
        runs: how many.
        windows: of each.
        memory: correlation of a window with the next.
        effect: standard deviation between runs, over that of a window within a run.
        gain: log of the speed.
    """
    return [
        gain + NOISE * (effect * random.standard_normal() + _noise(random, windows, memory))
        for _ in range(runs)
    ]


def _noise(random: np.random.Generator, windows: int, memory: float) -> Floats:
    values = random.standard_normal(windows)
    for index in range(1, windows):
        values[index] = memory * values[index - 1] + np.sqrt(1 - memory**2) * values[index]
    return values


def bootstrap(a: Runs, b: Runs) -> LogRatio:
    """The plain hierarchical bootstrap of equally long runs, its 95 % percentile interval made symmetric."""
    random = np.random.default_rng(0)
    ends = [_resampled(np.stack(side), random) for side in (a, b)]
    value = float(np.mean(b) - np.mean(a))
    return LogRatio(value, float(np.quantile(np.abs(ends[1] - ends[0] - value), 0.95)))


def _resampled(runs: Floats, random: np.random.Generator) -> Floats:
    """Means of a side whose runs are drawn with replacement, and whose windows are within each."""
    count, windows = runs.shape
    drawn = random.integers(count, size=(RESAMPLES, count, 1))
    within = random.integers(windows, size=(RESAMPLES, count, windows))
    means: Floats = runs[drawn, within].mean(axis=(1, 2))
    return means


def shares(
    pairs: int, runs: int, windows: int, effect: float, memory: float, interval: Interval = log_ratio
) -> tuple[float, float, float]:
    """Covered, found, and the median reach of an interval to one side, as a share."""
    random = np.random.default_rng(2026)
    same = [interval(*(simulate(random, runs, windows, memory, effect) for _ in "ab")) for _ in range(pairs)]
    faster = [
        interval(*(simulate(random, runs, windows, memory, effect, gain) for gain in (0.0, np.log(1.1))))
        for _ in range(pairs)
    ]
    covered = np.mean([abs(one.value) <= one.reach for one in same])
    found = np.mean([abs(one.value) > one.reach for one in faster])
    return float(covered), float(found), float(np.median([one.reach for one in same]))


def table(pairs: int) -> Iterator[str]:
    yield "| runs a side | windows a run | effect of runs | memory | covered | 10 % found | reach |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for runs, windows, effect, memory in SETTINGS:
        covered, found, reach = shares(pairs, runs, windows, effect, memory)
        yield (
            f"| {runs} | {windows} | {effect:g} | {memory:g} | {100 * covered:.0f} % | {100 * found:.0f} % "
            f"| {100 * reach:.1f} % |"
        )


def beside_the_bootstrap(pairs: int) -> Iterator[str]:
    yield (
        "| runs a side | windows a run | effect of runs | memory "
        "| bootstrap: covered | 10 % found | ours: covered | 10 % found |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for setting in BOOTSTRAPPED:
        both = [shares(pairs, *setting, interval)[:2] for interval in (bootstrap, log_ratio)]
        cells = [*(f"{x:g}" for x in setting), *(f"{100 * x:.0f} %" for pair in both for x in pair)]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--bootstrap", action="store_true", help="beside the plain bootstrap")
    asked = parser.parse_args()
    for line in (beside_the_bootstrap if asked.bootstrap else table)(asked.pairs):
        print(line, flush=True)
