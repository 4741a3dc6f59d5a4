"""A step followed to the end of the run: the parts agree, and everything unknown has a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pippin.plan.asynchronous import Exchange, asynchronous
from pippin.plan.cost import PriceBasis, TokenBudget
from pippin.plan.estimate import Estimate
from pippin.plan.failures import failure_rate, recovery
from pippin.plan.prospect import Site, Step, cost_json, energy_json, goodput_json, prospect

BUDGET = TokenBudget(15.6e12, "the model's own: a paper")
STEP = Step(chips=16_384, replicas=128, tokens=2048 * 8192, seconds=Estimate(4.0, 3.5, 4.6))


def site(**changes: Any) -> Site:
    prices = (
        PriceBasis("AWS", "p5", 8, "on demand", "", "us-east-1", "2026-07-20", "a page", "high", 6.88),
        PriceBasis("AWS", "p5", 8, "spot", "", "", "-", "-", "-", None, "never quoted"),
    )
    fields: dict[str, Any] = {
        "chip_id": "h100_sxm",
        "chip_name": "H100",
        "node_chips": 8,
        "prices": prices,
        "watts": 700.0,
        "power_term": "max TDP",
        "power_source": "a page",
        "rate": failure_rate("h100_sxm"),
        "times": recovery(),
    }
    return Site(**fields | changes)


def test_the_parts_agree() -> None:
    found = prospect(STEP, site(), BUDGET)
    rate = 2048 * 8192 / 4.0 * found.synchronous.value
    assert found.effective_tokens_per_second.value == pytest.approx(rate)
    assert found.seconds.value == pytest.approx(15.6e12 / rate)
    assert found.chips_with_spares == 16_384 + 8 * found.spare_nodes
    usd = found.costs[0].usd
    assert usd is not None
    assert usd.value == pytest.approx(found.chips_with_spares * 6.88 * found.seconds.value / 3600)
    assert found.energy.joules is not None
    assert found.energy.joules.value == pytest.approx(700 * found.chips_with_spares * found.seconds.value)


def test_replicas_that_go_on_are_faster() -> None:
    together, tolerant = (prospect(STEP, site(), BUDGET, mode) for mode in ("synchronous", "replicas"))
    assert tolerant.goodput == together.replicas
    assert tolerant.seconds.value < together.seconds.value


def test_intervals_hold_step_time_and_failures() -> None:
    sure = site(rate=failure_rate("h100_sxm", 5.78), times=recovery().given(restart=600.0, checkpoint=10.0))
    narrow, wide = prospect(STEP, sure, BUDGET).seconds, prospect(STEP, site(), BUDGET).seconds
    assert narrow.high / narrow.low == pytest.approx(4.6 / 3.5, rel=0.03)
    assert wide.high / wide.low > narrow.high / narrow.low


def unknowns(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [p for key, each in value.items() for p in unknowns(each, f"{path}.{key}")]
    if isinstance(value, list):
        return [p for each in value for p in unknowns(each, path)]
    return [path] if value is None else []


def test_json_is_json_and_each_null_is_explained() -> None:
    found = prospect(STEP, site(), BUDGET)
    apart = asynchronous(
        Exchange(8, 1e12, "a test"),
        parameters=405e9,
        chips_per_learner=2048,
        learner_batch=2048,
        tokens_per_learner_step=2048 * 8192,
        learner_step_seconds=Estimate(32.0, 28.0, 37.0),
        rate=site().rate,
        times=site().times,
    )
    goodput = goodput_json(found, site(), [apart], 16_384)
    assert json.loads(json.dumps(goodput, allow_nan=False)) == goodput
    assert unknowns(goodput) == [".asynchronous.statistical_cost"]
    (learners,) = goodput["asynchronous"]
    assert "not known" in learners["statistical_cost_reason"]
    assert learners["outer_steps_in_all"] == pytest.approx(15.6e12 / (8 * 100 * 2048 * 8192))
    entries = cost_json(found)
    assert [entry["usd"] is None for entry in entries] == [False, True]
    assert entries[1]["reason"] == "never quoted"
    watts = energy_json(found.energy)
    assert {path.strip(".") for path in unknowns(watts)} - {"facility_joules_interval"} == {
        "facility_overhead",
        "facility_joules",
    }
    assert "facility_joules" in watts["unknown"]


def test_checkpoint_intervals_are_near_each_other() -> None:
    every = goodput_json(prospect(STEP, site(), BUDGET), site(), [], 16_384)["checkpoint_every_seconds"]
    assert every["young"] == pytest.approx(every["best"], rel=0.05)
    assert every["availability"] == pytest.approx(every["best"], rel=0.06)
