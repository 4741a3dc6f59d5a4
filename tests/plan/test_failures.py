"""Failure rates: every one sourced, unknown chips wide, and what they say about large fleets."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from pippin.catalog import load_chips
from pippin.errors import PippinError
from pippin.plan.failures import (
    asynchronous_goodput,
    failure_rate,
    own_checkpoints_pay,
    recovery,
    replica_goodput,
    shortage,
    spare_nodes,
    synchronous_goodput,
)

TABLE = tomllib.loads(files("pippin.plan").joinpath("failures.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("chip_id", sorted(load_chips()))
def test_every_chip_has_a_rate_with_its_basis(chip_id: str) -> None:
    rate = failure_rate(chip_id)
    assert rate.basis and rate.public == bool(rate.sources)
    assert rate.mtbf_years.low < rate.mtbf_years.value < rate.mtbf_years.high


def test_counts_give_the_stated_years() -> None:
    counted = [entry for entry in TABLE["observed"].values() if "failures" in entry]
    assert len(counted) == 2
    for entry in counted:
        years = entry["chips"] * entry["days"] / entry["failures"] / 365.25
        assert years == pytest.approx(entry["mtbf_years"], abs=0.006)


def test_llama3s_causes_add_up() -> None:
    causes = [148, 72, 54, 35, 32, 19, 17, 7, 7, 6, 6, 3, 3, 2, 2, 2, 2, 2]
    assert sum(causes) == TABLE["observed"]["llama3"]["failures"]


def test_intervals_are_those_of_the_sources() -> None:
    """An interval ends at a published fleet, but for the unknown chips' which is wider than all of them."""
    years = [entry["mtbf_years"] for entry in TABLE["observed"].values()]
    for name, entry in TABLE["chip"].items():
        _, low, high = entry["mtbf_years"]
        if name == "unknown":
            assert low <= min(years) / 1.3 and high >= max(years) * 1.3
        else:
            assert {low, high} <= {TABLE["observed"][key]["mtbf_years"] for key in TABLE["observed"]}


def test_trainium2_is_said_to_be_unknown() -> None:
    rate = failure_rate("trn2")
    assert not rate.public
    assert "no failure rate of this chip is public" in rate.basis
    assert rate.mtbf_years.high / rate.mtbf_years.low > 10


def test_large_fleets_need_more_than_one_curve() -> None:
    rate, times = failure_rate("trn2"), recovery()
    together = synchronous_goodput(rate, times, 400_000)
    apart = asynchronous_goodput(rate, times, 400_000, 64, 300.0)
    replicas = replica_goodput(rate, times, 400_000, 64)
    assert together.value < replicas.value < apart.value
    assert together.low < 0.05 and together.high > 0.3
    assert apart.low > together.high


def test_llama3_by_the_shipped_defaults() -> None:
    goodput = synchronous_goodput(failure_rate("h100_sxm"), recovery(), 16_384)
    assert goodput.value > 0.90
    assert goodput.low < 0.9 < goodput.high


def test_spares() -> None:
    rate, times = failure_rate("h100_sxm"), recovery()
    spares = spare_nodes(rate, times, 16_384)
    assert 8 <= spares <= 20  # 7.8 nodes are away on average when a repair takes a day
    assert shortage(rate, times, 16_384) <= 0.01
    assert spare_nodes(rate, times, 400_000) > 10 * spares


def test_stated_values_are_taken_as_given() -> None:
    assert failure_rate("trn2", 5.0).mtbf_years.as_list() == [5.0, 5.0]
    times = recovery().given(restart=60.0, checkpoint=None)
    assert times.restart.as_list() == [60.0, 60.0]
    assert times.why["restart"] == "given by the user"
    assert times.checkpoint == recovery().checkpoint


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan")])
def test_nonsense_is_refused(bad: float) -> None:
    with pytest.raises(PippinError, match="--mtbf-years"):
        failure_rate("trn2", bad)
    with pytest.raises(PippinError, match="--restart-seconds"):
        recovery().given(restart=bad)


def test_long_rounds_make_learners_save_for_themselves() -> None:
    rate, times = failure_rate("h100_sxm"), recovery()
    short = asynchronous_goodput(rate, times, 16_384, 64, 60.0)
    assert not own_checkpoints_pay(rate, times, 16_384, 64, 60.0)
    day = asynchronous_goodput(rate, times, 16_384, 64, 86_400.0)
    assert own_checkpoints_pay(rate, times, 16_384, 64, 86_400.0)
    assert day == asynchronous_goodput(rate, times, 16_384, 64, 1e7)
    assert short.value - 0.01 < day.value < short.value


def test_stated_spares_are_counted() -> None:
    rate, times = failure_rate("h100_sxm"), recovery().given(spare_nodes=3)
    assert spare_nodes(rate, times, 16_384) == 3
    assert shortage(rate, times, 16_384) > 0.5  # 7.8 nodes are away on average
    assert recovery().given().spare_nodes is None
    with pytest.raises(PippinError, match="--spare-nodes"):
        recovery().given(spare_nodes=-1)
