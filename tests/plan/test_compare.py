"""Fleets of the catalog with a made-up search: chips counted, errors in one line, wishes heard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pippin.catalog import load_catalog
from pippin.errors import PippinError
from pippin.plan.compare import Found, Wishes, plan_fleet, plan_fleets
from pippin.plan.cost import TokenBudget
from pippin.plan.estimate import Estimate
from pippin.plan.fleets import FleetPlan
from pippin.plan.prospect import Step, few_rounds
from pippin.plan.scaling import Job

JOB = Job(405e9, 2048, TokenBudget(15.6e12, "a paper"))


class Search:
    """Needs 500 chips, works on multiples of 64 up to 250,000, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, chips: int) -> Found | None:
        self.asked.append(chips)
        used = min(chips, 250_000) // 64 * 64
        if used < 500:
            return None
        seconds = 2e5 / used + 1.0
        step = Step(used, used // 64, 2048 * 8192, Estimate(seconds, 0.9 * seconds, 1.2 * seconds))
        return Found(step, f"tensor 8, data {used // 64}", 50e9, Estimate(0.4, 0.33, 0.45), "of the peak")


def plan(name: str = "rainier-400k", chips: int = 400_000, **wishes: Any) -> FleetPlan:
    fleet = load_catalog().fleet(name)
    return plan_fleet(fleet, chips, JOB, Search(), Wishes(**wishes), rests_on="a test")


def test_more_chips_than_the_batch_can_use_is_an_answer() -> None:
    found = plan(sizes=0)
    assert found.run.step.chips == 249_984
    spares = found.run.chips_with_spares - 249_984
    assert found.idle_chips == 400_000 - 249_984 - spares > 100_000


def test_no_size_is_searched_twice() -> None:
    search = Search()
    plan_fleet(load_catalog().fleet("rainier-400k"), 400_000, JOB, search, Wishes(), rests_on="a test")
    assert len(search.asked) == len(set(search.asked)) <= 16


def test_a_plan_without_a_curve_asks_little() -> None:
    search = Search()
    plan_fleet(load_catalog().fleet("trn2"), 400_000, JOB, search, Wishes(sizes=0), rests_on="a test")
    assert sorted(search.asked) == [400_000 // 64, 400_000 // 8, 400_000]


def test_objectives_pick_sizes() -> None:
    fast, cheap = plan(), plan(objective="cost")
    assert fast.run.seconds.value < cheap.run.seconds.value
    assert cheap.run.step.chips < fast.run.step.chips
    assert plan(objective="energy").run.step.chips == cheap.run.step.chips


def test_links_come_from_the_catalog_or_from_the_user() -> None:
    eight = plan(sizes=0).chosen.apart[0]
    assert eight.link_bytes_per_second == pytest.approx(200e9 / 8 / 2 * eight.chips_per_learner)
    slow = plan(sizes=0, link_gbit_per_second=1.0, learners=(8,)).chosen.apart[0]
    assert slow.link_bytes_per_second == pytest.approx(1e9 / 8)
    assert slow.effective_tokens_per_second.value < eight.effective_tokens_per_second.value
    unknown = plan("v7", 9216, sizes=0, learners=(8,)).chosen.apart[0]
    assert "no scale-out link is published" in unknown.exchange.link_basis


def test_replicas_that_go_on() -> None:
    assert plan(mode="replicas").run.goodput.value > plan().run.goodput.value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chips": 0}, "--chips: 0 chips train nothing"),
        ({"chips": -3}, "--chips"),
        ({"chips": 400_001}, "rainier-400k has 400,000 chips, not 400,001"),
        ({"objective": "fame"}, "--objective: no objective 'fame'"),
        ({"mtbf_years": 0.0}, "--mtbf-years"),
        ({"facility_overhead": 0.5}, "--facility-overhead"),
        ({"learners": (0,)}, "--learners"),
        ({"max_days": 0.01}, "--max-days"),
        ({"chips": 100}, "fits on none of the fleet sizes"),
    ],
)
def test_nonsense_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PippinError, match=message) as caught:
        plan(**arguments)
    assert "\n" not in str(caught.value)


def test_a_fleet_that_cannot_is_listed_beside_those_that_can() -> None:
    done, refused = plan_fleets(
        [
            ("rainier-400k", plan),
            ("trn2-instance", lambda: plan("trn2-instance", 16)),
        ]
    )
    assert [each.name for each in done] == ["rainier-400k"]
    assert refused[0][0] == "trn2-instance" and "fits on none" in refused[0][1]
    with pytest.raises(PippinError, match=r"trn2-instance: .*; p5: "):
        plan_fleets(
            [
                ("trn2-instance", lambda: plan("trn2-instance", 16)),
                ("p5", lambda: plan("p5", 16)),
            ]
        )


def test_a_fleet_that_is_too_slow_is_listed_too() -> None:
    done, refused = plan_fleets(
        [("rainier-400k", lambda: plan(max_days=70.0)), ("trn1", lambda: plan("trn1", 512, max_days=70.0))]
    )
    assert len(done) == 1
    assert refused[0][0] == "trn1" and "no layout trains in 70 days" in refused[0][1]


def test_nonsense_is_not_hidden_among_refusals() -> None:
    with pytest.raises(PippinError, match="--objective"):
        plan_fleets([("a", lambda: plan(objective="fame")), ("b", plan)])


def test_what_the_user_changed_is_noted() -> None:
    fleet = load_catalog().fleet("p5").model_copy(update={"users_fields": ("note",), "note": "ours"})
    found = plan_fleet(fleet, 1024, JOB, Search(), Wishes(sizes=1), rests_on="a test")
    assert "Changed by the user's file: note." in found.notes
    assert replace(found, notes=()).notes == ()


def test_learners_may_have_a_batch_of_their_own() -> None:
    """A 64th of the batch each: as many tokens an update as one job, and as many updates."""
    asked: list[int] = []

    def small(chips: int) -> Found:
        asked.append(chips)
        step = Step(chips, 8, 32 * 8192, Estimate(2.0, 1.5, 2.5))
        return Found(step, "tensor 8", 50e9, None, "no peak")

    fleet, wishes = load_catalog().fleet("rainier-400k"), Wishes(sizes=0, learners=(64,), learner_batch=32)
    found = plan_fleet(fleet, 400_000, JOB, Search(), wishes, rests_on="a test", search_learner=small)
    (apart,) = found.apart
    assert asked == [6250]
    assert (apart.learner_batch, apart.total_batch) == (32, 2048)
    assert apart.tokens_per_second.value == pytest.approx(64 * 32 * 8192 / 2.0)


def test_few_meetings_are_warned_of() -> None:
    (many,) = plan(sizes=0, learners=(8,)).apart
    assert few_rounds(many, JOB.budget) == ""
    (few,) = plan(sizes=0, learners=(64,), inner_steps=500).apart
    assert few_rounds(few, JOB.budget).startswith("only 29 meetings for all the tokens")
