"""Repeats with a clock that obeys, and the median's interval against the binomial distribution."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.assay.timing import (
    MIN_REPEATS,
    PATIENCE,
    REPEAT_SECONDS,
    median_interval,
    seconds_per_call,
    why_no_interval,
)


class FakeKernel:
    """Takes `call_seconds` a call, by its own clock; the first call takes `first_seconds` more."""

    def __init__(self, call_seconds: float, first_seconds: float = 0.0) -> None:
        self.now = 0.0
        self.call_seconds = call_seconds
        self.first_seconds = first_seconds
        self.batches: list[int] = []

    def clock(self) -> float:
        return self.now

    def run(self, calls: int) -> None:
        self.now += calls * self.call_seconds + (0 if self.batches else self.first_seconds)
        self.batches.append(calls)


@settings(deadline=None)
@given(st.floats(1e-5, 0.5), st.floats(0.1, 3))
def test_seconds_per_call(call_seconds, seconds):
    kernel = FakeKernel(call_seconds, first_seconds=0.01)
    timed = seconds_per_call(kernel.run, seconds, clock=kernel.clock)
    assert timed == pytest.approx([call_seconds] * len(timed), rel=1e-6)
    calls = kernel.batches[-1]
    assert calls * call_seconds >= REPEAT_SECONDS * 0.999
    # It stops at the first repeat that ends after the time, or once patience is over.
    last = calls * call_seconds
    assert kernel.now >= seconds * 0.999
    if len(timed) > MIN_REPEATS:
        assert kernel.now <= seconds + last * 1.001
    elif len(timed) < MIN_REPEATS:
        assert kernel.now >= PATIENCE * seconds * 0.999


def test_the_first_call_is_not_timed():
    kernel = FakeKernel(0.1, first_seconds=50)
    assert seconds_per_call(kernel.run, 1, clock=kernel.clock) == pytest.approx([0.1])


def test_a_kernel_without_duration_ends():
    ticks = itertools.count(step=0.001)
    assert seconds_per_call(lambda calls: None, 0.5, clock=lambda: next(ticks))


@settings(deadline=None)
@given(st.lists(st.floats(1, 100), min_size=1, max_size=80))
def test_median_interval_covers_95_percent(values):
    median, low, high = median_interval(values)
    ordered = sorted(values)
    if len(values) < MIN_REPEATS:
        assert low is None and high is None and why_no_interval(len(values))
        return
    assert why_no_interval(len(values)) is None
    assert low <= median <= high
    # The widest tail that may be left out on either side, by the binomial distribution itself.
    tail, left_out = 1, 0
    while 2 * tail / 2 ** len(values) <= 0.05:
        left_out += 1
        tail += math.comb(len(values), left_out)
    assert (low, high) == (ordered[left_out - 1], ordered[-left_out])


def test_median_interval_known_values():
    assert median_interval([1, 2, 3, 4, 5]) == (3, None, None)
    assert median_interval([6, 2, 3, 4, 5, 1]) == (3.5, 1, 6)
    # Tables of the sign test: for 20 values the 6th and the 15th.
    assert median_interval(range(1, 21)) == (10.5, 6, 15)
    median, low, high = median_interval(range(1, 2001))
    assert median == 1000.5
    assert low == pytest.approx(1000.5 - 1.96 * math.sqrt(2000) / 2, abs=1.5)
    assert high == 2001 - low
