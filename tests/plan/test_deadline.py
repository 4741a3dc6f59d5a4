"""A deadline in the search: the cheapest that is in time, the soonest where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.calibration import shipped_calibration
from pippin.plan.compare import Wishes
from pippin.plan.framework import MEGATRON
from pippin.plan.layout import Floats
from pippin.plan.search import Ranking, Task, Weigh, search
from pippin.plan.system import System

STEPS, CHIPS, KEEP = 10_000, 256, 4096
TASK = Task(
    ModelConfig(**preset("llama3.1-8b")), 96, 4096, System.of("h100_sxm"), shipped_calibration(), MEGATRON
)


def ranked(weigh: Weigh) -> Ranking:
    return search(TASK, CHIPS, lean=True, keep=KEEP, weigh=weigh)


def wall(ranking: Ranking) -> Floats:
    weigh = Wishes().weigh("h100_sxm")
    return ranking.step_seconds * weigh(ranking.layouts.chips, ranking.layouts.data)


def days(seconds: float) -> float:
    return seconds * STEPS / 86_400


def test_of_what_is_in_time_the_cheapest_wins() -> None:
    by_time = ranked(Wishes().weigh("h100_sxm"))
    cheapest = ranked(Wishes(objective="cost").weigh("h100_sxm"))
    fastest, slowest = wall(by_time)[0], wall(cheapest)[0]
    assert fastest < slowest
    limit = (fastest + slowest) / 2
    deadline = Wishes(objective="cost", max_days=days(limit)).deadline("h100_sxm", STEPS)
    assert deadline is not None
    found = deadline.meet(ranked)
    chip_time = wall(by_time) * by_time.layouts.chips
    assert wall(found)[0] <= limit
    best = chip_time[wall(by_time) <= limit].min()
    assert wall(found)[0] * found.layouts.chips[0] == pytest.approx(best)


def test_the_ranking_by_time_is_looked_at_where_that_by_cost_has_nothing() -> None:
    by_time = ranked(Wishes().weigh("h100_sxm"))
    limit = wall(by_time)[0] * 1.0001
    deadline = Wishes(objective="cost", max_days=days(limit)).deadline("h100_sxm", STEPS)
    assert deadline is not None
    found = deadline.meet(lambda weigh: search(TASK, CHIPS, lean=True, keep=2, weigh=weigh))
    assert wall(found)[0] <= limit


def test_where_nothing_is_in_time_the_soonest_comes_first() -> None:
    deadline = Wishes(objective="cost", max_days=1e-9).deadline("h100_sxm", STEPS)
    assert deadline is not None
    found = deadline.meet(ranked)
    assert wall(found)[0] == pytest.approx(np.min(wall(ranked(Wishes().weigh("h100_sxm")))))


def test_without_days_there_is_no_deadline() -> None:
    assert Wishes().deadline("h100_sxm", STEPS) is None
