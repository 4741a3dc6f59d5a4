"""Prices of a fleet as cost takes them: every one with its basis, missing ones with the reason."""

from __future__ import annotations

import pytest

from pippin.catalog import load_catalog
from pippin.plan.cost import costs
from pippin.plan.estimate import Estimate
from pippin.plan.failures import recovery
from pippin.plan.fleet import price_bases, site_of


def test_every_price_of_a_fleet_is_a_basis_and_so_is_every_reason() -> None:
    catalog = load_catalog()
    for name in catalog.fleet_names():
        fleet = catalog.fleet(name)
        bases = price_bases(fleet)
        assert len(bases) == len(fleet.prices) + len(fleet.no_price)
        for basis in bases:
            assert (basis.usd_per_chip_hour is None) == bool(basis.why_unknown)


def test_cost_takes_them() -> None:
    bases = price_bases(load_catalog().fleet("trn2"))
    results = {cost.basis.kind: cost for cost in costs(bases, 160, 1e9, Estimate.exact(3600.0))}
    block = results["capacity block"].usd
    assert block is not None and block.value == pytest.approx(10 * 35.7608)
    assert results["none found"].usd is None
    assert "no on-demand list price" in (results["none found"].reason or "")


def test_a_stand_in_says_so() -> None:
    assert price_bases(load_catalog().fleet("rainier-400k"))[0].source.startswith("stand-in, trn2.48xlarge")


@pytest.mark.parametrize(("name", "node_chips", "watts"), [("trn2", 16, 500.0), ("p5.48xlarge", 8, 700.0)])
def test_a_site_has_the_chip_s_host_and_power(name: str, node_chips: int, watts: float) -> None:
    site = site_of(load_catalog().fleet(name), recovery(), facility_overhead=1.2)
    assert (site.node_chips, site.watts, site.facility_overhead) == (node_chips, watts, 1.2)
    assert site.power_term and site.power_source
    assert site.rate.public == (name == "p5.48xlarge")
