"""The waterfall's arithmetic, from made-up times: parts add up, and a loss moves its own bar alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.assay import ablations
from pippin.assay.bars import BARS
from pippin.assay.components import Component
from pippin.assay.interleaved import interleave
from pippin.assay.losses import Rates, split_flops, waterfall
from pippin.assay.run_time import RunTime, run_time
from pippin.assay.taken_apart import LAUNCH, PLACE, STEP, UPDATE, TakenApart
from pippin.job import Job, make_job
from pippin.models.counts import training_flops_per_token

JOB = make_job(
    {
        "model": {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "ffn_dim": 48},
        "train": {"steps": 10, "batch_size": 2, "sequence_length": 16},
    }
)
NAMES = ("query", "key, value", "output", "gate, up", "down", "head")
PARTS = (
    *(Component(f"product {name}", 2, 10, 10) for name in NAMES),
    Component("norm", 5, 1, 1),
    Component("gate and down", 2, 1, 1),
    Component("rotary embedding, queries", 1, 1, 1),
    Component("rotary embedding, keys", 1, 1, 1),
    Component("residual sum", 8, 1, 1),
    Component("embedding", 1, 1, 1),
)
RUN = RunTime(10, 320, 12.0, 1.0, 2.0, 0.5, 0.7, 0.3, 0.1, 0.2, 9.0)
RATES = Rates(1e9, None, "no peak is published")


def seconds() -> dict[str, float]:
    """One round of a step of a second, with nothing lost to what may not be there."""
    alone = {part.name: 0.01 for part in PARTS} | {"gate and down": 0.03}
    return {
        STEP: 1.0, PLACE: 0.02, LAUNCH: 0.001, UPDATE: 0.131,
        ablations.AS_RUN: 0.85, ablations.NO_ATTENTION: 0.7, ablations.NO_VOCABULARY: 0.4, **alone,
    }  # fmt: skip


def fall(times: dict[str, float], run: RunTime = RUN, job: Job = JOB, rates: Rates = RATES) -> dict[str, Any]:
    rounds = {name: [value] * 7 for name, value in times.items()}
    parts = TakenApart(rounds, PARTS, {ablations.ALONE: "it was not compiled"}, 1)
    return {bar.key: bar for bar in waterfall(parts, job, rates, run)}


def total(bars: dict[str, Any]) -> float:
    return sum(bar.seconds or 0.0 for bar in bars.values())


@given(st.lists(st.floats(0, 100), min_size=len(seconds()), max_size=len(seconds())))
def test_the_bars_add_up_to_the_whole_whatever_was_measured(values: list[float]) -> None:
    bars = fall(dict(zip(seconds(), values, strict=True)))
    assert list(bars) == list(BARS)
    assert total(bars) == pytest.approx(RUN.whole, abs=1e-6)


def test_each_bar_by_hand() -> None:
    bars = {key: bar.seconds for key, bar in fall(seconds()).items()}
    layers, attention, head = (flops / 1e9 for flops in split_flops(JOB))
    expected = {
        "arithmetic": 10 * (layers + attention + head),
        "matrix_rate": None,
        "shapes": 10 * (5 * 2 * 0.009 - layers),
        "attention": 10 * (0.85 - 0.7 - attention),
        "norms": 10 * 5 * 0.009,
        "elementwise": 10 * (2 * (0.03 - 0.01) + 2 * 0.009 + 8 * 0.009),
        "embedding": 0.09,
        "vocabulary": 10 * (0.7 - 0.4 - head),
        "optimizer": 10 * (0.131 - 0.001),
        "recomputation": 0.0,
        "communication": None,
        "bubble": 0.0,
        "host": 0.21,
        "unexplained": 10 * (0.4 - 0.001 - 0.09 - 0.045 - 0.13 - 0.009),
        "pace": 2.0,
        "input": 1.0,
        "compile": 2.0,
        "checkpoint": 0.5,
        "evaluation": 0.7,
        "start": 0.3,
        "failures": 0.1,
        "idle": 0.2,
    }
    assert bars == {key: value if value is None else pytest.approx(value) for key, value in expected.items()}


def test_flops_are_split_without_a_rest() -> None:
    every = training_flops_per_token(JOB.shape, 16) * JOB.tokens_per_step
    assert sum(split_flops(JOB)) == pytest.approx(every)


def test_with_a_rated_peak_the_fall_begins_there() -> None:
    without, bars = fall(seconds()), fall(seconds(), rates=Rates(1e9, 4e9, ""))
    assert bars["arithmetic"].seconds == pytest.approx(without["arithmetic"].seconds / 4)
    assert bars["matrix_rate"].seconds == pytest.approx(without["arithmetic"].seconds * 3 / 4)
    assert without["matrix_rate"].reason == "no peak is published"
    assert total(bars) == pytest.approx(total(without))


@pytest.mark.parametrize(
    ("key", "slower", "more"),
    [
        ("recomputation", (STEP, ablations.AS_RUN), {ablations.KEPT: 0.85}),
        ("communication", (STEP, ablations.AS_RUN), {ablations.ALONE: 0.85}),
        ("attention", (STEP, ablations.AS_RUN), {}),
        ("vocabulary", (STEP, ablations.AS_RUN, ablations.NO_ATTENTION), {}),
        ("optimizer", (STEP, UPDATE), {}),
        ("unexplained", (STEP, ablations.AS_RUN, ablations.NO_ATTENTION, ablations.NO_VOCABULARY), {}),
    ],
)
def test_what_makes_the_step_slower_moves_one_bar(
    key: str, slower: tuple[str, ...], more: dict[str, float]
) -> None:
    before = seconds() | more
    after = before | {name: before[name] + 0.25 for name in slower}
    run = RunTime(10, 320, 12.0 + 2.5, 1.0, 2.0, 0.5, 0.7, 0.3, 0.1, 0.2, 9.0)
    first, second = fall(before), fall(after, run)
    moved = {
        name: (second[name].seconds or 0.0) - (first[name].seconds or 0.0)
        for name in BARS
        if abs((second[name].seconds or 0.0) - (first[name].seconds or 0.0)) > 1e-9
    }
    assert moved == {key: pytest.approx(2.5)}


def without(name: str, why: str) -> dict[str, Any]:
    rounds = {key: [value] * 7 for key, value in seconds().items() if key != name}
    return {bar.key: bar for bar in waterfall(TakenApart(rounds, PARTS, {name: why}, 1), JOB, RATES, RUN)}


@pytest.mark.parametrize(
    ("name", "keys"),
    [(ablations.NO_ATTENTION, ("attention", "vocabulary")), (ablations.NO_VOCABULARY, ("vocabulary",))],
)
def test_what_the_device_refused_is_null_and_not_a_made_up_figure(name: str, keys: tuple[str, ...]) -> None:
    bars = without(name, "no memory")
    assert {key for key, bar in bars.items() if bar.reason == "no memory"} == set(keys)
    assert all(bars[key].seconds is None for key in keys)
    assert total(bars) == pytest.approx(RUN.whole)


def span(category: str, start: float, end: float, name: str = "", **more: Any) -> dict[str, Any]:
    return {"category": category, "start": start, "end": end, "name": name or category, **more}


def test_every_second_of_the_ledger_is_in_one_place() -> None:
    spans = [
        span("restart", 0, 1, "start of the process"),
        span("data", 1, 3, "corpus"),
        span("compile", 3, 6),
        span("evaluation", 6, 10, "probe"),
        span("step", 10, 12, step=1, tokens=[0, 8]),
        span("step", 12, 15, step=2, tokens=[8, 16]),
        span("checkpoint", 15, 16),
        span("step", 16, 17, step=3, tokens=[16, 24]),
        span("restart", 17, 22, "not running"),
        span("restart", 22, 23, "start of the process"),
        span("step", 23, 24, step=3, tokens=[16, 24]),
        span("step", 24, 26, step=4, dropped_tokens=[24, 32]),
        span("data", 26, 27, failed=True),
        span("evaluation", 27, 30, "validation"),
        span("idle", 30, 31, "stopped"),
    ]
    run = run_time(spans)
    # Lost: the first try of step 3, the time until the restart, the dropped step, the failed span.
    assert run == RunTime(3, 24, 6.0, 2.0, 3.0, 1.0, 3.0, 2.0, 1.0 + 5.0 + 2.0 + 1.0, 1.0, 4.0)
    assert run.whole + run.own == 31


def test_programs_take_turns_and_short_ones_are_called_more_often() -> None:
    now, order = 0.0, []

    def program(name: str, takes: float) -> Any:
        def run(calls: int) -> None:
            nonlocal now
            now += calls * takes
            order.append((name, calls))

        return run

    rounds = interleave(
        {"long": program("long", 0.1), "short": program("short", 0.001)}, 1.0, clock=lambda: now
    )
    count = len(rounds["long"])
    assert count == len(rounds["short"]) >= 6
    assert order[-4 * count :] == [("long", 1), ("long", 1), ("short", 1), ("short", 4)] * count
    assert np.allclose(rounds["long"], 0.1) and np.allclose(rounds["short"], 0.001)
