"""The waterfall's arithmetic, from made-up times: parts add up, and a loss moves its own bar alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.assay.bars import BARS
from pippin.assay.hlo import COMMUNICATION, RECOMPUTATION, UNNAMED
from pippin.assay.interleaved import interleave
from pippin.assay.losses import Rates, expert_flops, split_flops, waterfall
from pippin.assay.run_time import RunTime, run_time
from pippin.assay.timeline import NOTHING
from pippin.assay.traced import Group, Traced
from pippin.job import Job, make_job
from pippin.models import scopes
from pippin.models.counts import training_flops_per_token

JOB = make_job(
    {
        "model": {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "ffn_dim": 48},
        "train": {"steps": 10, "batch_size": 2, "sequence_length": 16},
    }
)
# With experts, and a pipeline.
SPLIT = make_job(
    {
        **JOB.model_dump(exclude={"run", "chip", "data"}),
        "model": {**JOB.model, "moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 24}},
        "mesh": {"stage": 2},
    }
)
RUN = RunTime(10, 320, 12.0, 1.0, 2.0, 0.5, 0.7, 0.3, 0.1, 0.2, 9.0)
RATES = Rates(1e9, None, "no peak is published")


def seconds() -> dict[str, float]:
    """A step of a second."""
    return {
        scopes.PRODUCT: 0.3, scopes.ATTENTION: 0.1, scopes.NORM: 0.05, scopes.ROTARY: 0.01, scopes.GATE: 0.02,
        scopes.RESIDUAL: 0.03, scopes.LAYERS: 0.04, scopes.ACCUMULATION: 0.01, scopes.EMBEDDING: 0.01,
        scopes.VOCABULARY: 0.2, scopes.OPTIMIZER: 0.1, UNNAMED: 0.09, NOTHING: 0.04,
    }  # fmt: skip


def fall(times: dict[str, float], run: RunTime = RUN, job: Job = JOB, rates: Rates = RATES) -> dict[str, Any]:
    groups = [Group(2, 3, sum(times.values()), times)] * 7
    return {bar.key: bar for bar in waterfall(Traced(groups), job, rates, run)}


def total(bars: dict[str, Any]) -> float:
    return sum(bar.seconds or 0.0 for bar in bars.values())


@given(st.lists(st.floats(0.001, 100), min_size=len(seconds()), max_size=len(seconds())))
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
        "shapes": 3.6 - 10 * layers,
        "experts": 0.0,
        "routing": 0.0,
        "attention": 1.2 - 10 * attention,
        "norms": 0.6,
        "elementwise": 12 * 0.11,
        "embedding": 0.12,
        "vocabulary": 2.4 - 10 * head,
        "optimizer": 1.2,
        "recomputation": 0.0,
        "communication": 0.0,
        "bubble": 0.0,
        "host": 0.48,
        "unexplained": 1.08,
        "input": 1.0,
        "compile": 2.0,
        "checkpoint": 0.5,
        "evaluation": 0.7,
        "start": 0.3,
        "failures": 0.1,
        "idle": 0.2,
    }
    assert bars == {key: value if value is None else pytest.approx(value) for key, value in expected.items()}


def test_experts_and_the_pipeline_have_bars_of_their_own_where_a_job_has_them() -> None:
    parts = {scopes.EXPERT_PRODUCT: 0.5, scopes.EXPERTS: 0.25, scopes.BUBBLE: 0.125, scopes.PRODUCT: 0.125}
    bars = {key: bar.seconds for key, bar in fall(parts, job=SPLIT).items()}
    # 320 tokens meet 2 of the experts of 3 x 32 x 24 in both layers, and both routers of 32 x 4.
    experts, router = 6 * 320 * 2 * 2 * 3 * 32 * 24 / 1e9, 6 * 320 * 2 * 32 * 4 / 1e9
    layers = 10 * split_flops(SPLIT)[0] / 1e9
    assert bars["experts"] == pytest.approx(6 - experts)
    assert bars["routing"] == pytest.approx(3 - router)
    assert bars["bubble"] == pytest.approx(1.5)
    assert bars["shapes"] == pytest.approx(1.5 - (layers - experts - router))


@pytest.mark.parametrize("job", [JOB, SPLIT])
def test_flops_are_split_without_a_rest(job: Job) -> None:
    every = training_flops_per_token(job.shape, 16) * job.tokens_per_step
    assert sum(split_flops(job)) == pytest.approx(every)
    assert sum(expert_flops(job)) < split_flops(job)[0]


def test_with_a_rated_peak_the_fall_begins_there() -> None:
    without, bars = fall(seconds()), fall(seconds(), rates=Rates(1e9, 4e9, ""))
    assert bars["arithmetic"].seconds == pytest.approx(without["arithmetic"].seconds / 4)
    assert bars["matrix_rate"].seconds == pytest.approx(without["arithmetic"].seconds * 3 / 4)
    assert without["matrix_rate"].reason == "no peak is published"
    assert total(bars) == pytest.approx(total(without))


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("recomputation", RECOMPUTATION),
        ("communication", COMMUNICATION),
        ("attention", scopes.ATTENTION),
        ("vocabulary", scopes.VOCABULARY),
        ("optimizer", scopes.OPTIMIZER),
        ("elementwise", scopes.GATE),
        ("experts", scopes.EXPERT_PRODUCT),
        ("routing", scopes.EXPERTS),
        ("bubble", scopes.BUBBLE),
        ("host", NOTHING),
        ("unexplained", UNNAMED),
    ],
)
def test_what_makes_the_step_slower_moves_one_bar(key: str, part: str) -> None:
    before = seconds()
    after = before | {part: before.get(part, 0.0) + 0.25}
    slower = replace(RUN, step_seconds=1.25 * RUN.step_seconds)
    first, second = fall(before, job=SPLIT), fall(after, slower, job=SPLIT)
    moved = {
        name: (second[name].seconds or 0.0) - (first[name].seconds or 0.0)
        for name in BARS
        if abs((second[name].seconds or 0.0) - (first[name].seconds or 0.0)) > 1e-9
    }
    assert moved == {key: pytest.approx(3.0)}


def test_without_traced_steps_their_bars_are_null_and_not_made_up() -> None:
    bars = {bar.key: bar for bar in waterfall(Traced((), "no names"), JOB, RATES, RUN)}
    nulls = {key for key, bar in bars.items() if bar.reason == "no names"}
    within = {"shapes", "attention", "norms", "elementwise", "embedding", "vocabulary", "optimizer"}
    assert nulls == within | {"recomputation", "communication", "host"}
    assert all(bars[key].seconds is None for key in nulls)
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
