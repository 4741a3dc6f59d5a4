"""A made-up comparison of two fleets, so that pages and tables can be tested without a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pippin.plan.asynchronous import Exchange
from pippin.plan.cost import PriceBasis, TokenBudget
from pippin.plan.estimate import Estimate
from pippin.plan.failures import failure_rate, recovery
from pippin.plan.fleets import Comparison, FleetPlan
from pippin.plan.prospect import Site, Step
from pippin.plan.scaling import Job, choose, ladder, scale_point

BUDGET = TokenBudget(15.6e12, "the model's own: a paper")
JOB = Job(405e9, 2048, BUDGET)


def price(provider: str, kind: str, usd: float | None, **changes: Any) -> PriceBasis:
    fields: dict[str, Any] = {
        "provider": provider,
        "instance": "an-instance",
        "chips_per_instance": 8,
        "kind": kind,
        "term": "",
        "region": "us-east-2",
        "date": "2026-10-09",
        "source": "a page",
        "trust": "high",
        "usd_per_chip_hour": usd,
    }
    return PriceBasis(**fields | changes)


def make_site(chip_id: str, prices: tuple[PriceBasis, ...], watts: float | None) -> Site:
    return Site(
        chip_id=chip_id,
        chip_name=chip_id,
        node_chips=16,
        prices=prices,
        watts=watts,
        power_term="max TDP",
        power_source="a page",
        rate=failure_rate(chip_id),
        times=recovery(),
    )


def finder(rate: float, smallest: int) -> Callable[[int], Step | None]:
    """Step time with a part that more chips make shorter, and one that they do not."""

    def find(chips: int) -> Step | None:
        if chips < smallest:
            return None
        seconds = 2048 * 8192 * 2.9e12 / (rate * chips) + 1.0
        spread = Estimate(seconds, 0.87 * seconds, 1.2 * seconds)
        return Step(chips, max(1, chips // 128), 2048 * 8192, spread)

    return find


def fleet(name: str, site: Site, chips: int, rate: float, **changes: Any) -> FleetPlan:
    find = finder(rate, 256)
    exchanges = [Exchange(count, 25e9, "a test") for count in (8, 64)]
    points = tuple(scale_point(find, JOB, site, size, exchanges) for size in ladder(chips))
    chosen, why = choose(points, "time")
    fields: dict[str, Any] = {
        "name": name,
        "site": site,
        "chips": chips,
        "layout": "tensor 8, stage 16, data 128, micro-batch 1",
        "mfu": Estimate(0.38, 0.33, 0.44),
        "mfu_basis": "of the rated dense bf16 peak, per chip",
        "memory_bytes": 61 * 2.0**30,
        "chosen": chosen,
        "why": why,
        "points": points,
        "rests_on": "a calibration",
    }
    return FleetPlan(**fields | changes)


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    trainium = (
        price("AWS", "capacity block", 2.235),
        price("AWS", "spot", 0.943, term="quoted"),
        price("AWS", "on demand", None, why_unknown="no public list price"),
    )
    h100 = (
        price("AWS", "on demand", 6.88, date="2026-07-20"),
        price("AWS", "capacity block", 4.326, date="2026-05-25"),
        price("AWS", "reserved", 2.9721, term="3 years, all upfront", source="stand-in, p5: a page"),
        price("CoreWeave", "on demand", 6.155, date="2026-09-20", trust="medium"),
    )
    fleets = (
        fleet("rainier_400k", make_site("trn2", trainium, 500.0), 400_000, 667e12 * 0.3),
        fleet("h100_100k", make_site("h100_sxm", h100, 700.0), 100_000, 989e12 * 0.4),
    )
    return Comparison(
        model="llama3.1-405b",
        parameters=405e9,
        precision="bf16",
        global_batch=2048,
        sequence_length=8192,
        batch_basis="a paper",
        budget=BUDGET,
        objective="time",
        fleets=fleets,
        refused=(("trn1_16", "the model needs 4.1 TiB more than its memory"),),
    )


@pytest.fixture(scope="session")
def bare_comparison(comparison: Comparison) -> Comparison:
    """One fleet of which nothing is known that may be unknown, and only one size of it."""
    one = fleet("mystery", make_site("trn3", (), None), 300, 100e12, mfu=None, mfu_basis="no rated peak")
    points = one.points[:1]
    return Comparison(
        **{
            **{name: getattr(comparison, name) for name in ("model", "parameters", "precision")},
            **{
                name: getattr(comparison, name) for name in ("global_batch", "sequence_length", "batch_basis")
            },
            "budget": BUDGET,
            "objective": "cost",
            "fleets": (FleetPlan(**{**one.__dict__, "points": points, "chosen": points[0]}),),
        }
    )
