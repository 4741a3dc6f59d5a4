"""Shared by the benchmarks: alternating repeats, medians, and one line about the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version


def machine() -> str:
    """What a ratio was measured on."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, "
        f"jax {version('jax')}, pippin {version('pippin')}"
    )


def alternate(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, taken in turn so that a drift of the machine hits both alike; one warm-up each."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, taken in zip((first, second), times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return times


def ratio_line(name: str, ours: list[float], other: list[float]) -> str:
    """Medians in milliseconds and the median of the pairwise ratios, other over ours."""
    ratios = sorted(b / a for a, b in zip(ours, other, strict=True))
    return (
        f"{name}: ours {1e3 * statistics.median(ours):.1f} ms, "
        f"other {1e3 * statistics.median(other):.1f} ms, "
        f"ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
