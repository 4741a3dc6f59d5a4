"""Dollars and joules: arithmetic by hand, every price kept, unknown ones named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.plan.cost import (
    PriceBasis,
    common_kind,
    costs,
    reference,
    token_budget,
    train_seconds,
    whole_instances,
)
from pippin.plan.energy import energy
from pippin.plan.estimate import Estimate


def price(usd: float | None = 2.0, **changes: Any) -> PriceBasis:
    fields: dict[str, Any] = {
        "provider": "AWS",
        "instance": "trn2.48xlarge",
        "chips_per_instance": 16,
        "kind": "capacity block",
        "term": "",
        "region": "us-east-2",
        "date": "2026-10-09",
        "source": "a page",
        "trust": "high",
        "usd_per_chip_hour": usd,
    }
    return PriceBasis(**fields | changes)


def test_by_hand() -> None:
    """1,000 chips at $2 an hour, 1 M tokens/s: an hour of 3.6 G tokens costs $2,016, whole instances paid."""
    seconds = train_seconds(3.6e9, Estimate(1e6, 0.5e6, 2e6))
    assert seconds == Estimate(3600.0, 1800.0, 7200.0)
    (cost,) = costs([price()], 1000, 3.6e9, seconds)
    assert cost.chips_paid == 1008
    assert cost.usd is not None and cost.usd_per_million_tokens is not None
    assert (cost.usd.value, cost.usd.low, cost.usd.high) == pytest.approx((2016.0, 1008.0, 4032.0))
    assert cost.usd_per_million_tokens.value == pytest.approx(0.56)


def test_unknown_prices_stay_with_their_reason() -> None:
    found = costs(
        [price(None, why_unknown="sold by negotiation"), price(9.0), price(1.0)],
        16,
        1e9,
        Estimate.exact(3600.0),
    )
    assert [c.usd.value if c.usd else None for c in found] == [16.0, 144.0, None]
    assert found[-1].reason == "sold by negotiation"
    assert costs([price(None)], 16, 1e9, Estimate.exact(1.0))[0].reason == "no price found"


@given(chips=st.integers(1, 500_000), size=st.integers(1, 144))
def test_whole_instances(chips: int, size: int) -> None:
    paid = whole_instances(chips, size)
    assert paid % size == 0 and chips <= paid < chips + size


def test_a_run_that_never_moves_costs_without_end() -> None:
    seconds = train_seconds(1e12, Estimate(1.0, 0.0, 2.0))
    assert seconds.as_list() == [5e11, None]
    (cost,) = costs([price()], 16, 1e12, seconds)
    assert cost.usd is not None and cost.usd.as_list()[1] is None


def test_token_budgets_say_where_they_are_from() -> None:
    assert token_budget(1e9, 15e12, "a paper", 1e9).basis == "given by the user"
    assert token_budget(None, 15e12, "a paper", 1e9).tokens == 15e12
    assert "a paper" in token_budget(None, 15e12, "a paper", 1e9).basis
    fallback = token_budget(None, None, "", 1e9)
    assert fallback.tokens == 20e9 and "20 tokens for each parameter" in fallback.basis


@pytest.mark.parametrize("bad", [0.0, -5.0, float("inf"), float("nan")])
def test_nonsense_budgets_are_refused(bad: float) -> None:
    with pytest.raises(PippinError, match="--tokens"):
        token_budget(bad, None, "", 1e9)


def joules(watts: float | None, overhead: float | None = None) -> Any:
    return energy(
        watts,
        "max TDP",
        "a page",
        chip_name="Trainium2",
        chips=100,
        tokens=1e6,
        seconds=Estimate(10.0, 5.0, 20.0),
        facility_overhead=overhead,
    )


def test_energy_by_hand() -> None:
    found = joules(500.0, 1.2)
    assert found.joules == Estimate(5e5, 2.5e5, 1e6)
    assert found.joules_per_token.value == pytest.approx(0.5)
    assert found.facility_joules.value == pytest.approx(6e5)
    assert found.reasons == {}


def test_energy_that_is_not_known_says_why() -> None:
    assert joules(None).joules is None
    assert joules(None).reasons["joules"] == "no power of Trainium2 is published"
    chips_only = joules(500.0)
    assert chips_only.facility_joules is None
    assert "--facility-overhead" in chips_only.reasons["facility_joules"]


def test_an_overhead_below_one_is_refused() -> None:
    with pytest.raises(PippinError, match="--facility-overhead"):
        joules(500.0, 0.9)


def on(kinds: dict[str, float]) -> Any:
    prices = [price(usd, kind=kind) for kind, usd in kinds.items()]
    return costs(prices, 16, 1e9, Estimate.exact(3600.0))


def test_fleets_are_compared_on_a_kind_of_price_that_all_have() -> None:
    trainium = on({"capacity block": 2.2, "spot": 0.9})
    h100 = on({"on demand": 6.9, "capacity block": 4.3, "reserved": 3.0})
    assert common_kind([trainium, h100]) == "capacity block"
    assert common_kind([h100]) == "on demand"
    assert (
        common_kind([trainium, h100, costs([price(None)], 16, 1e9, Estimate.exact(1.0))]) == "capacity block"
    )
    assert common_kind([on({"spot": 1.0}), on({"on demand": 1.0})]) is None
    assert common_kind([]) is None


def test_a_fleet_without_that_kind_says_which_it_is_priced_on() -> None:
    chosen = reference(on({"spot": 0.9, "reserved": 3.0}), "on demand")
    assert chosen is not None and chosen.basis.kind == "reserved"
    assert reference([], "on demand") is None
    odd = reference(on({"barter": 1.0}), None)
    assert odd is not None and odd.basis.kind == "barter"


def test_of_one_kind_the_cheapest_counts() -> None:
    both = costs([price(9.0), price(2.0)], 16, 1e9, Estimate.exact(3600.0))
    chosen = reference(both, "capacity block")
    assert chosen is not None and chosen.basis.usd_per_chip_hour == 2.0
