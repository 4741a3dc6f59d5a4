"""More chips and fewer: the ladder, what each objective picks, the front, and learners apart at scale."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.plan.asynchronous import Exchange
from pippin.plan.cost import PriceBasis, TokenBudget
from pippin.plan.estimate import Estimate
from pippin.plan.failures import failure_rate, recovery
from pippin.plan.prospect import Site, Step
from pippin.plan.scaling import Job, ScalePoint, choose, front, ladder, scale_point

JOB = Job(parameters=400e9, global_batch=2048, budget=TokenBudget(15e12, "given by the user"))
EXCHANGES = [Exchange(count, 25e9, "a test") for count in (8, 64)]
PRICE = PriceBasis(
    "AWS", "trn2.48xlarge", 16, "capacity block", "", "us-east-2", "2026-10-09", "a page", "high", 2.235
)


def step(chips: int) -> Step | None:
    """A made-up planner: the model needs 64 chips, and more of them overlap less and less well."""
    if chips < 64:
        return None
    seconds = 4e4 / chips + 2.0
    return Step(chips, max(1, chips // 64), 2048 * 8192, Estimate(seconds, 0.9 * seconds, 1.15 * seconds))


def site(**changes: Any) -> Site:
    fields: dict[str, Any] = {
        "chip_id": "trn2",
        "chip_name": "Trainium2",
        "node_chips": 16,
        "prices": (PRICE,),
        "watts": 500.0,
        "power_term": "an estimate",
        "power_source": "a page",
        "rate": failure_rate("trn2"),
        "times": recovery(),
    }
    return Site(**fields | changes)


def points(chips: int = 400_000) -> list[ScalePoint]:
    return [scale_point(step, JOB, site(), size, EXCHANGES) for size in ladder(chips)]


@given(chips=st.integers(1, 1_000_000))
def test_ladder(chips: int) -> None:
    sizes = ladder(chips)
    assert sizes[0] == chips and sizes[-1] >= 1
    assert all(small == large // 2 for large, small in itertools.pairwise(sizes))


def test_apart_pays_at_scale_and_says_its_batch() -> None:
    (point,) = [p for p in points() if p.chips == 400_000]
    assert point.together is not None
    eight, many = point.apart
    assert (eight.chips_per_learner, many.chips_per_learner) == (50_000, 6250)
    assert many.total_batch == 64 * 2048
    together = point.together.effective_tokens_per_second
    assert together.value < eight.effective_tokens_per_second.value
    assert eight.effective_tokens_per_second.value < many.effective_tokens_per_second.value
    assert many.link_bytes_per_second == 25e9 * 6250


def test_too_few_chips_are_no_error() -> None:
    found = scale_point(step, JOB, site(), 400, EXCHANGES)
    assert found.together is not None and found.apart == ()  # 50 chips a learner do not hold it
    assert scale_point(step, JOB, site(), 32, EXCHANGES).together is None


def test_objectives() -> None:
    """The most chips are not the fastest once failures eat what they add; the fewest are the cheapest."""
    sizes = points()
    fastest, why = choose(sizes, "time")
    assert fastest.chips < 400_000 and "sooner than 400,000" in why
    for objective in ("cost", "energy"):
        found, why = choose(sizes, objective)
        assert found.chips == min(p.chips for p in sizes) and "fewer chip-hours" in why


def test_a_deadline_binds() -> None:
    sizes = points()
    fast, cheap = (choose(sizes, o)[0].together for o in ("time", "cost"))
    assert fast is not None and cheap is not None
    limit = (fast.seconds.value + cheap.seconds.value) / 2
    middle = choose(sizes, "cost", limit)[0].together
    assert middle is not None and middle.seconds.value <= limit < cheap.seconds.value
    with pytest.raises(PippinError, match="--max-days: no layout trains in"):
        choose(sizes, "cost", fast.seconds.value / 2)


def test_one_size_is_the_whole_fleet() -> None:
    assert "whole fleet is best" in choose(points(64)[:1], "time")[1]


def test_nonsense_is_refused() -> None:
    with pytest.raises(PippinError, match="did you mean 'cost'"):
        choose(points(), "costs")
    with pytest.raises(PippinError, match="fits on none"):
        choose([scale_point(step, JOB, site(), 8, [])], "time")


def test_the_front_has_no_point_that_another_beats() -> None:
    best = front(points())
    assert len(best) > 2
    times = [p.run.seconds.value for p in best]
    usd = [p.cost.usd.value for p in best if p.cost.usd]
    assert times == sorted(times) and usd == sorted(usd, reverse=True)
    everything = [p.together for p in points() if p.together]
    for run in everything:
        (cost,) = run.costs
        assert cost.usd is not None
        assert any(t <= run.seconds.value and u <= cost.usd.value for t, u in zip(times, usd, strict=True))


def test_without_a_price_there_is_no_front() -> None:
    unpriced = site(prices=())
    assert front([scale_point(step, JOB, unpriced, 4096, [])]) == []
    assert front(points(), "spot") == front(points())  # where that kind is missing, the one there is
