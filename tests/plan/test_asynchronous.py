"""Learners apart: bytes, Amdahl's law, and what happens at 16 thousand to 400 thousand chips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.plan.asynchronous import (
    Asynchronous,
    Exchange,
    asynchronous,
    inner_step_seconds,
    outer_bytes,
)
from pippin.plan.estimate import Estimate
from pippin.plan.failures import failure_rate, recovery, synchronous_goodput

TRAINIUM = failure_rate("trn2")


def learners(count: int = 64, link: float = 1e12, **changes: Any) -> Asynchronous:
    exchange = Exchange(count, link, "a test", shared=True, **changes)
    return asynchronous(
        exchange,
        parameters=400e9,
        chips_per_learner=400_000 // count,
        learner_batch=2048,
        tokens_per_learner_step=2048 * 8192,
        learner_step_seconds=Estimate(5.0, 4.0, 7.0),
        rate=TRAINIUM,
        times=recovery(),
    )


def test_bytes_of_the_small_run_over_a_slow_link() -> None:
    """875,520 parameters, 2 workers, batch 8 x 128: bytes a token as measured for plain data parallel and
    for DiLoCo in a laboratory of two processes."""
    every_step = outer_bytes(875_520, 2, 32) / (8 * 128)
    assert every_step == pytest.approx(3616, rel=0.06)  # the measured figure counts headers as well
    assert outer_bytes(875_520, 2, 32) / (20 * 8 * 128) == pytest.approx(181, rel=0.06)
    assert outer_bytes(875_520, 2, 8) / (20 * 8 * 128) == pytest.approx(45, rel=0.06)


@given(
    compute=st.floats(1e-3, 1e3),
    exchange=st.floats(0, 1e5),
    steps=st.integers(1, 1000),
)
def test_amdahl(compute: float, exchange: float, steps: int) -> None:
    beside = inner_step_seconds(compute, exchange, steps, True)
    after = inner_step_seconds(compute, exchange, steps, False)
    assert compute <= beside <= after <= 2 * beside * (1 + 1e-12)
    assert inner_step_seconds(compute, exchange, steps * 2, False) <= after


def test_one_learner_that_meets_each_step_is_plain_data_parallel() -> None:
    assert outer_bytes(1e9, 1, 32) == 0
    assert inner_step_seconds(2.0, 0.0, 1, False) == 2.0


def test_a_fast_link_hides_the_exchange() -> None:
    found = learners()
    assert found.exchange_seconds < 1
    assert found.tokens_per_second.value == pytest.approx(64 * 2048 * 8192 / 5)
    assert found.total_batch == 64 * 2048
    assert found.tokens_per_outer_step == 64 * 2048 * 8192 * 100


def test_a_slow_link_sets_the_pace_and_quantising_helps() -> None:
    slow, coarse = learners(link=1e9, wire_bits=32), learners(link=1e9, wire_bits=4)
    expected = 2 * 63 / 64 * 400e9 * 4 / 1e9
    assert slow.exchange_seconds == pytest.approx(expected)
    assert slow.tokens_per_second.value == pytest.approx(64 * 2048 * 8192 * 100 / expected)
    assert coarse.tokens_per_second.value == pytest.approx(64 * 2048 * 8192 / 5)  # 3.9 s, hidden
    blocking = learners(link=1e9, wire_bits=4, overlapped=False)
    assert blocking.tokens_per_second.value == pytest.approx(64 * 2048 * 8192 / (5 + 3.9375))


@pytest.mark.parametrize("chips", [16_384, 100_000, 400_000])
def test_apart_is_never_worse_than_together_in_goodput(chips: int) -> None:
    together = synchronous_goodput(TRAINIUM, recovery(), chips)
    for count in (8, 64):
        apart = asynchronous(
            Exchange(count, 1e12, "a test"),
            parameters=400e9,
            chips_per_learner=chips // count,
            learner_batch=256,
            tokens_per_learner_step=256 * 8192,
            learner_step_seconds=Estimate.exact(2.0),
            rate=TRAINIUM,
            times=recovery(),
        )
        assert apart.goodput.value > together.value


def test_longer_rounds_lose_more() -> None:
    assert learners().round_seconds == pytest.approx(100 * 5)
    assert learners(inner_steps=20).round_seconds == pytest.approx(20 * 5)
    assert learners(inner_steps=20).goodput.value > learners(inner_steps=500).goodput.value
    assert learners(inner_steps=500).own_checkpoints and not learners(inner_steps=2).own_checkpoints


def test_effective_rate_has_both_intervals() -> None:
    found = learners()
    product = found.tokens_per_second.value * found.goodput.value
    assert found.effective_tokens_per_second.value == pytest.approx(product)
    spread = found.effective_tokens_per_second
    assert spread.low < found.tokens_per_second.low
    assert spread.value < spread.high <= found.tokens_per_second.high


def test_arrays_of_learners() -> None:
    got = outer_bytes(1e9, np.array([2, 8]), 8)
    assert got.tolist() == [1e9, 1.75e9]


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"count": 0}, "--learners"),
        ({"inner_steps": 0}, "--inner-steps"),
        ({"wire_bits": -8}, "--wire-bits"),
        ({"link": 0.0}, "--link-gbit-per-second"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], option: str) -> None:
    values = {"count": 8, "link": 1e9} | changes
    with pytest.raises(PippinError, match=option):
        Exchange(values.pop("count"), values.pop("link"), "a test", **values)
