from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.job import TrainTable
from pippin.train.schedule import learning_rate

PEAK = 3e-3


def table(**values: Any) -> TrainTable:
    return TrainTable(**{"steps": 100, "learning_rate": PEAK, **values})


def rates(train: TrainTable) -> list[float]:
    return [learning_rate(train, step) for step in range(train.steps)]


TABLES = st.builds(
    table,
    steps=st.integers(1, 300),
    schedule=st.sampled_from(["cosine", "wsd"]),
    warmup_fraction=st.floats(0, 0.5),
    decay_fraction=st.floats(0.01, 0.5),
    final_learning_rate_fraction=st.floats(0, 1),
)


@given(TABLES)
def test_it_rises_then_never_again(train: TrainTable) -> None:
    warmup = round(train.warmup_fraction * train.steps)
    every = rates(train)
    assert all(earlier < later for earlier, later in pairwise(every[:warmup]))
    assert all(earlier >= later for earlier, later in pairwise(every[warmup:]))


@given(TABLES)
def test_it_stays_between_nothing_and_the_peak(train: TrainTable) -> None:
    warmup = round(train.warmup_fraction * train.steps)
    every = rates(train)
    assert all(0 < rate <= PEAK for rate in every[:warmup])
    floor = train.final_learning_rate_fraction * PEAK
    assert all(floor * (1 - 1e-12) <= rate <= PEAK for rate in every[warmup:])


@given(TABLES)
def test_it_ends_within_one_step_of_the_floor(train: TrainTable) -> None:
    floor = train.final_learning_rate_fraction * PEAK
    assert learning_rate(train, train.steps) == pytest.approx(floor, rel=1e-9, abs=1e-15)


def test_warm_up_is_linear() -> None:
    every = rates(table(warmup_fraction=0.1))
    assert every[:10] == pytest.approx([PEAK * (n + 1) / 11 for n in range(10)])
    assert every[10] == PEAK


def test_cosine() -> None:
    train = table(warmup_fraction=0.1, final_learning_rate_fraction=0.1)
    assert learning_rate(train, 55) == pytest.approx(PEAK * 0.55)  # half way: the middle of peak and floor
    quarter = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4))
    assert learning_rate(train, 10 + 90 // 4) == pytest.approx(PEAK * quarter, rel=0.01)


def test_warm_up_stable_decay() -> None:
    every = rates(
        table(schedule="wsd", warmup_fraction=0.1, decay_fraction=0.2, final_learning_rate_fraction=0.5)
    )
    assert every[9] < PEAK
    assert every[10:81] == [PEAK] * 71
    drops = [earlier - later for earlier, later in pairwise(every[80:])]
    assert drops == pytest.approx([0.5 * PEAK / 20] * 19)  # a straight line to the floor


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_run_of_one_step(schedule: str) -> None:
    assert rates(table(steps=1, schedule=schedule)) == [PEAK]
