"""Intervals: what goes in comes out, and formulas of log-normal inputs have the interval of theory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.plan.estimate import Estimate, draws, propagate

numbers = st.floats(1e-6, 1e12)
spreads = st.floats(1.0, 10.0)


@given(value=numbers, below=spreads, above=spreads)
def test_an_input_alone_keeps_its_interval(value: float, below: float, above: float) -> None:
    given_ = Estimate(value, value / below, value * above)
    got = propagate(lambda x: x, given_)
    assert got.value == value
    assert got.low == pytest.approx(given_.low, rel=0.03)
    assert got.high == pytest.approx(given_.high, rel=0.03)


@given(value=numbers, one=spreads, two=spreads)
def test_a_product_spreads_as_the_root_of_squares(value: float, one: float, two: float) -> None:
    a, b = Estimate(value, value / one, value * one), Estimate(3.0, 3 / two, 3 * two)
    got = propagate(lambda x, y: x * y, a, b)
    spread = math.exp(math.hypot(math.log(one), math.log(two)))
    assert got.value == 3 * value
    assert got.high / got.value == pytest.approx(spread, rel=0.06)
    assert got.value / got.low == pytest.approx(spread, rel=0.06)


def test_exact_inputs_have_no_interval() -> None:
    assert propagate(lambda x, y: x / y, Estimate.exact(6.0), Estimate.exact(2.0)) == Estimate(3.0, 3.0, 3.0)


def test_dimensions_are_independent() -> None:
    wide = Estimate(1.0, 0.5, 2.0)
    for one in range(6):
        for other in range(one):
            a, b = (draws(wide, dimension) for dimension in (one, other))
            correlation = ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())
            assert abs(correlation) < 0.03


def test_four_draws_of_five_are_inside() -> None:
    inside = [(draws(Estimate(1.0, 0.5, 4.0), d) >= 0.5).mean() for d in range(6)]
    assert inside == pytest.approx([0.9] * 6, abs=0.001)


def test_inverse_and_scale() -> None:
    assert Estimate(2.0, 1.0, 4.0).inverse(8.0) == Estimate(4.0, 2.0, 8.0)
    assert Estimate(2.0, 0.0, 4.0).inverse().as_list() == [0.25, None]
    assert Estimate(2.0, 1.0, 4.0).scaled(3.0) == Estimate(6.0, 3.0, 12.0)


def test_an_interval_holds_its_value() -> None:
    with pytest.raises(ValueError, match="not an interval"):
        Estimate(1.0, 2.0, 3.0)
