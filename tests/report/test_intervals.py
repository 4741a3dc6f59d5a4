"""Intervals hold what they should, on simulated runs whose windows remember one another and in the limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pippin.report.intervals import log_ratio

Floats = NDArray[np.float64]
PAIRS = 200
STEPS_IN_WINDOW = 15


def one_run(random: np.random.Generator, windows: int, gain: float = 0.0) -> Floats:
    """Log speeds of the windows of a run, made of its steps.

    The time of a step: noise of its own (8 %), noise that lasts for dozens of steps (3 %, memory 0.97), a
    drift over the whole run (1 % from end to end), and an effect of the run as a whole (0.7 %).
    """
    steps = windows * STEPS_IN_WINDOW
    lasting = random.standard_normal(steps)
    for index in range(1, steps):
        lasting[index] = 0.97 * lasting[index - 1] + np.sqrt(1 - 0.97**2) * lasting[index]
    drift = 0.01 * random.standard_normal() * np.linspace(-0.5, 0.5, steps)
    noise = 0.08 * random.standard_normal(steps) + 0.03 * lasting + drift + 0.007 * random.standard_normal()
    seconds = np.exp(noise - gain).reshape(windows, STEPS_IN_WINDOW)
    speeds: Floats = -np.log(seconds.mean(axis=1))
    return speeds


def side(random: np.random.Generator, runs: int, windows: int, gain: float = 0.0) -> list[Floats]:
    return [one_run(random, windows, gain) for _ in range(runs)]


@pytest.mark.parametrize(("runs", "windows"), [(1, 20), (3, 10)])
def test_equal_machines_are_told_to_be_equal_and_a_tenth_is_found(runs: int, windows: int) -> None:
    random = np.random.default_rng(11)
    equal = [log_ratio(side(random, runs, windows), side(random, runs, windows)) for _ in range(PAIRS)]
    covered = sum(abs(found.value) <= found.reach for found in equal)
    assert 0.90 * PAIRS <= covered <= 0.99 * PAIRS
    gain = np.log(1.1)
    faster = [log_ratio(side(random, runs, windows), side(random, runs, windows, gain)) for _ in range(PAIRS)]
    assert sum(found.value > found.reach for found in faster) >= 0.80 * PAIRS
    holds = sum(abs(found.value - gain) <= found.reach for found in faster)
    assert 0.90 * PAIRS <= holds <= 0.99 * PAIRS


def test_windows_taken_for_independent_would_say_too_much() -> None:
    """What the model is for: the same runs with the usual interval of a mean."""
    random = np.random.default_rng(11)
    covered = 0
    for _ in range(PAIRS):
        (a,), (b,) = side(random, 1, 20), side(random, 1, 20)
        error = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 20)
        covered += abs(a.mean() - b.mean()) <= 1.96 * error
    assert covered < 0.85 * PAIRS


def test_runs_that_differ_widen_the_interval_more_than_windows_tell() -> None:
    random = np.random.default_rng(5)
    alike = [0.01 * random.standard_normal(20) for _ in range(4)]
    apart = [run + shift for run, shift in zip(alike, (-0.2, -0.1, 0.1, 0.2), strict=True)]
    assert log_ratio(apart, apart).reach > 5 * log_ratio(alike, alike).reach


def test_more_windows_and_more_runs_narrow_it() -> None:
    random = np.random.default_rng(6)

    def reach(runs: int, windows: int) -> float:
        pairs = [
            log_ratio(*([0.03 * random.standard_normal(windows) for _ in range(runs)] for _ in "ab"))
            for _ in range(20)
        ]
        return float(np.median([found.reach for found in pairs]))

    assert reach(1, 5) > reach(1, 10) > reach(1, 20) > reach(4, 20)


def test_single_values_of_runs_give_the_interval_of_student() -> None:
    """With one window a run there is nothing but the runs: two means with t of n - 1 each."""
    random = np.random.default_rng(7)
    a, b = random.standard_normal((2, 6))
    found = log_ratio([a[i : i + 1] for i in range(6)], [b[i : i + 1] for i in range(6)])
    draws = random.standard_t(5, (2, 400_000)) * np.array([[a.std(ddof=1)], [b.std(ddof=1)]]) / np.sqrt(6)
    assert found.value == pytest.approx(b.mean() - a.mean())
    assert found.reach == pytest.approx(np.quantile(np.abs(draws[0] - draws[1]), 0.95), rel=0.04)


def test_the_whitening_is_the_inverse_of_the_correlation() -> None:
    from pippin.report.intervals import _MEMORY, _whitened

    run = np.random.default_rng(8).standard_normal(7)
    ones, cross, own, determinant = _whitened(run)
    for index, memory in enumerate(_MEMORY):
        lag = np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
        inverse = np.linalg.inv(memory**lag)
        assert ones[index] == pytest.approx(inverse.sum())
        assert cross[index] == pytest.approx(inverse.sum(axis=0) @ run)
        assert own[index] == pytest.approx(run @ inverse @ run)
        assert determinant[index] == pytest.approx(np.linalg.slogdet(memory**lag)[1])


logs = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=5, max_size=12).map(np.array)


@settings(max_examples=40, deadline=None)
@given(logs, logs, st.floats(-3, 3))
def test_units_cancel_and_the_other_way_round_is_the_inverse(a: Floats, b: Floats, shift: float) -> None:
    found = log_ratio([a], [b])
    assert np.isfinite(found.reach) and found.reach >= 0
    assert found.value == pytest.approx(b.mean() - a.mean(), abs=1e-9)
    moved = log_ratio([a + shift], [b + shift])
    assert (moved.value, moved.reach) == pytest.approx((found.value, found.reach), rel=1e-3, abs=1e-9)
    back = log_ratio([b], [a])
    assert back.value == pytest.approx(-found.value, abs=1e-9)
    assert back.reach == pytest.approx(found.reach, rel=0.2, abs=1e-9)


def test_windows_without_any_noise_leave_no_doubt() -> None:
    found = log_ratio([np.zeros(5)], [np.full(5, 0.1)])
    assert found.value == pytest.approx(0.1) and found.reach < 1e-9
