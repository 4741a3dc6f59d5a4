"""Coverage of the intervals of `pippin compare` on simulated runs: the table of docs/compare.md.

    python benchmarks/compare_coverage.py [--pairs 500]

The logarithm of a window's speed is a level, plus an effect of its run, plus noise with a memory from one
window to the next. `covered` counts the pairs of equal machines whose interval has 1 in it; `found` those of
a machine and one 10 % faster whose interval leaves 1 out. The noise of a window is 3 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from pippin.report.intervals import Floats, log_ratio

NOISE = 0.03
SETTINGS = [
    (runs, windows, effect, memory)
    for runs, windows in ((1, 5), (1, 10), (1, 20), (2, 20), (3, 20), (5, 20), (5, 1))
    for effect in (0.0, 0.3, 1.0)
    for memory in (0.0, 0.3, 0.6, 0.8)
    if windows > 1 or memory == 0
]


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


def shares(pairs: int, runs: int, windows: int, effect: float, memory: float) -> tuple[float, float, float]:
    """Covered, found, and the median reach of an interval to one side, as a share."""
    random = np.random.default_rng(2026)
    same = [log_ratio(*(simulate(random, runs, windows, memory, effect) for _ in "ab")) for _ in range(pairs)]
    faster = [
        log_ratio(*(simulate(random, runs, windows, memory, effect, gain) for gain in (0.0, np.log(1.1))))
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=500)
    for line in table(parser.parse_args().pairs):
        print(line, flush=True)
