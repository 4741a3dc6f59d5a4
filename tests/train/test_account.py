from __future__ import annotations

from typing import Any

import pytest

from pippin.train.account import account, finished_steps


def span(category: str, start: float, end: float, **fields: Any) -> dict[str, Any]:
    return {"category": category, "start": start, "end": end, "name": category, **fields}


def step(number: int, start: float, end: float) -> dict[str, Any]:
    return span("step", start, end, step=number, tokens=[100 * (number - 1), 100 * number], digest="0" * 16)


RESTARTED = [
    span("restart", 0, 2),
    span("compile", 2, 7),
    step(1, 7, 9),
    step(2, 9, 10),
    span("checkpoint", 10, 11),
    step(3, 11, 12),
    span("step", 12, 12.5, failed=True),
    span("restart", 12.5, 20),  # killed; goes on after step 2
    step(3, 20, 22),
    step(4, 22, 23),
    span("evaluation", 23, 24),
    span("idle", 24, 25),
]


def test_an_undisturbed_run() -> None:
    totals = account(
        [span("compile", 0, 6), step(1, 6, 8), step(2, 8, 9), step(3, 9, 9.5), span("idle", 9.5, 10)]
    )
    assert (totals.steps, totals.tokens, totals.repeated_tokens) == (3, 300, 0)
    assert totals.tokens_per_second == pytest.approx(200 / 1.5)  # the first step stays out
    assert totals.tokens_per_second_end_to_end == pytest.approx(300 / 10)


def test_a_restarted_run_counts_each_token_once_and_all_time() -> None:
    totals = account(RESTARTED)
    assert (totals.steps, totals.tokens, totals.repeated_tokens) == (4, 400, 100)
    assert totals.wall_seconds == 25
    assert totals.tokens_per_second_end_to_end == pytest.approx(400 / 25)
    # Work that was lost took its time and did its tokens: the speed of the steps counts both.
    assert totals.tokens_per_second == pytest.approx(400 / 5)


def test_every_second_is_in_one_category() -> None:
    totals = account(RESTARTED)
    assert sum(totals.seconds_by_category.values()) == pytest.approx(totals.wall_seconds)
    assert totals.seconds_by_category == pytest.approx(
        {
            "restart": 9.5,
            "compile": 5.0,
            "step": 7.5,
            "checkpoint": 1.0,
            "evaluation": 1.0,
            "idle": 1.0,
            "data": 0.0,
        }
    )


def test_a_step_that_did_not_end_is_not_finished() -> None:
    assert [s["step"] for s in finished_steps(RESTARTED)] == [1, 2, 3, 3, 4]


@pytest.mark.parametrize("spans", [[], [span("compile", 0, 5)]])
def test_rates_of_nothing_are_unknown(spans: list[dict[str, Any]]) -> None:
    totals = account(spans)
    assert totals.tokens_per_second is None
    assert totals.tokens_per_second_end_to_end is None


def test_a_single_step_has_no_later_one_to_time() -> None:
    totals = account([step(1, 0, 2)])
    assert totals.tokens_per_second is None
    assert totals.tokens_per_second_end_to_end == pytest.approx(50)
