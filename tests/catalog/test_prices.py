"""Instances, prices, clusters and fleets: every row loads, every figure says what it rests on."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.catalog import Price, load_catalog, load_instances, load_prices, load_sources
from pippin.catalog.chips import load_chips
from pippin.catalog.claims import load_claims, load_measurements
from pippin.catalog.clusters import load_clusters
from pippin.catalog.fleets import load_fleet_rows
from pippin.catalog.instances import Instance, current
from pippin.catalog.tables import parse_table, read_data
from pippin.errors import PippinError

# Instances with a price and a chip that has no row in chips.csv: baselines of published comparisons.
WITHOUT_A_ROW = {
    *("gaudi1", "t4", "a10g", "l40s"),
    *("xeon_skylake", "xeon_icelake", "xeon_granite_rapids", "epyc_milan", "epyc_turin"),
}
KINDS = {"on demand": 77, "capacity block": 16, "reserved": 12, "spot": 8, "none found": 6}
# Chips with a row that nobody rents out by a known name.
NOT_RENTED = {
    "gb300_nvl72",
    "mi325x",
    "mi355x",
    "gaudi2",
    "gaudi3",
    "apple_m2_ultra",
    "apple_m4",
    "apple_m4_max",
}


@pytest.fixture(autouse=True)
def no_file_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPPIN_CATALOG", raising=False)


def test_every_price_row_is_there() -> None:
    kinds = Counter(price.kind for price in load_prices())
    assert sum(kinds.values()) == 119
    assert kinds == KINDS
    assert len(load_instances()) == 81


def test_what_is_not_known_says_why() -> None:
    unknown = {price.instance_id: price.why_unknown for price in load_prices() if price.usd_per_hour is None}
    assert len(unknown) == 7
    assert "no on-demand list price" in unknown["trn2.48xlarge"]
    assert all(unknown.values())


def test_every_row_refers_to_something() -> None:
    chips, instances = load_chips(), load_instances()
    assert {box.chip_id for box in instances.values()} - chips.keys() == WITHOUT_A_ROW
    assert chips.keys() - {box.chip_id for box in instances.values()} == NOT_RENTED
    assert {price.instance_id for price in load_prices()} == instances.keys()
    for row in [*load_clusters().values(), *load_fleet_rows().values()]:
        assert row.chip_id in chips
        for box in filter(None, (row.instance_id, row.price_instance_id)):
            assert instances[box].chip_id == row.chip_id


def test_every_row_has_a_known_source() -> None:
    known = [*load_sources(), "derived", "unverified", "Google TPU docs"]
    rows = [
        *load_claims().values(),
        *load_measurements().values(),
        *load_instances().values(),
        *load_prices(),
        *load_clusters().values(),
        *load_fleet_rows().values(),
    ]
    for row in rows:
        assert any(re.search(rf"(?<!\w){re.escape(key)}(?!\w)", row.source) for key in known), row


def test_golden_prices() -> None:
    """Per chip-hour, as published: a price divided by the wrong number of chips would not match."""
    chip_hours = {
        ("trn2", "capacity block"): 2.2351,
        ("trn1", "reserved"): 0.5123,
        ("p5", "on demand"): 6.88,
        ("p5", "capacity block"): 4.326,
        ("p5en", "capacity block"): 7.8948,
        ("p6e-gb200", "capacity block"): 10.582,
        ("v5p", "on demand"): 4.2,
        ("v6e", "on demand"): 2.7,
    }
    for (fleet, kind), usd in chip_hours.items():
        prices = [p.usd_per_chip_hour for p in load_catalog().fleet(fleet).prices if p.kind == kind]
        assert prices == [pytest.approx(usd, rel=1e-4)], (fleet, kind)


def _price(**cells: object) -> Price:
    blank = {"term": "", "region": "", "date": "", "as_of": "", "source": "s", "why_unknown": "", "note": ""}
    return Price.model_validate({"instance_id": "i", "kind": "spot", "trust": "high", **blank, **cells})


def test_a_newer_price_replaces_an_older_one_of_its_kind() -> None:
    old, new = _price(usd_per_hour=2, as_of="2024-12"), _price(usd_per_hour=1, as_of="2026-05-25")
    twin, other = (
        _price(usd_per_hour=3, as_of="2026-05-25", region="x"),
        _price(usd_per_hour=9, term="1 year"),
    )
    assert current((old, new, twin, other)) == (new, twin, other)
    assert (
        current((_price(usd_per_hour=1, trust="do not use"), _price(usd_per_hour=None, why_unknown="w")))
        == ()
    )


@given(
    st.lists(
        st.builds(
            lambda box, kind, usd, as_of, mine, bad: _price(
                instance_id=box,
                kind=kind,
                usd_per_hour=usd,
                as_of=as_of,
                users_fields=("usd_per_hour",) if mine else (),
                trust="do not use" if bad else "low",
            ),
            st.sampled_from("ab"),
            st.sampled_from(["spot", "reserved"]),
            st.floats(0.1, 9.0),
            st.sampled_from(["", "2024", "2024-12", "2025-01-31", "2026"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_what_is_current_is_the_newest_usable_of_each_kind(prices: list[Price]) -> None:
    chosen = current(tuple(prices))
    usable = [price for price in prices if price.usable]
    assert {(p.instance_id, p.kind) for p in chosen} == {(p.instance_id, p.kind) for p in usable}
    for price in chosen:
        rivals = [p for p in usable if (p.instance_id, p.kind) == (price.instance_id, price.kind)]
        mine = [p for p in rivals if p.users_fields]
        assert price in (mine or rivals)
        assert price.as_of == max(p.as_of for p in (mine or rivals))


def test_a_price_is_known_or_explained() -> None:
    header, row = read_data("prices.csv").splitlines()[:2]
    text = f"{header}\n{row.replace('1.34375', '')}\n"
    with pytest.raises(PippinError, match=r"prices.csv, row 2 \(trn1.2xlarge\): a price is either known or"):
        parse_table(text, Price, file="prices.csv", key="instance_id")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("trn1.2xlarge,", "trn1.2xlarge,,"), "more cells than the header"),
        ((",AWS,", ","), "fewer cells than the header"),
        ((",trn1,1,", ",trn1,none,"), "column 'chips': Input should be a valid integer"),
        ((",trn1,1,", ",trn1,0,"), "column 'chips': Input should be greater than 0"),
        (
            ("network_gbits", "network_gbit"),
            "unknown column 'network_gbit_per_second' (did you mean 'network_gbits",
        ),
    ],
)
def test_a_malformed_row_names_row_and_column(change: tuple[str, str], message: str) -> None:
    text = read_data("instances.csv").replace(*change, 1)
    with pytest.raises(PippinError, match=r"instances.csv, row 2 \(trn1.2xlarge\): ") as caught:
        parse_table(text, Instance, file="instances.csv", key="instance_id")
    assert message in str(caught.value)


def test_exaflops_of_clusters_follow_from_chips() -> None:
    catalog = load_catalog()
    rainier, trn2 = catalog.cluster("rainier-400k"), catalog.chip("trn2")
    assert rainier.exaflops(trn2, "bf16") == pytest.approx(266.8)
    assert rainier.exaflops(trn2, "fp8") == pytest.approx(519.6)
    assert rainier.exaflops(trn2, "fp4") is None


def test_a_fleet_has_the_links_of_its_box() -> None:
    catalog = load_catalog()
    trn2, ultra = catalog.fleet("trn2").chip, catalog.fleet("trn2-ultraservers").chip
    assert (trn2.scaleup_domain_chips, trn2.scaleup_shape, trn2.scaleup_gbytes_per_second) == (
        16,
        (4, 4),
        512,
    )
    assert (ultra.scaleup_domain_chips, ultra.scaleup_shape, ultra.scaleup_gbytes_per_second) == (
        64,
        (4, 4, 4),
        640,
    )
    assert ultra.scaleup_topology == "3d_torus"
    assert catalog.fleet("p6e-gb200").chip.scaleout_gbits_per_second == 800
    assert catalog.fleet("coreweave-gb200").chip.scaleout_gbits_per_second == 400
    assert catalog.fleet("p4de").chip.scaleout_gbits_per_second == 50
    assert catalog.fleet("p5.4xlarge").chip.chips_per_instance == 1
    assert catalog.fleet("v5p").chip.chips_per_instance == 4  # sold by the chip, hosts of four


def test_every_fleet_assembles_and_every_price_has_its_basis() -> None:
    catalog = load_catalog()
    for name in catalog.fleet_names():
        fleet = catalog.fleet(name)
        assert fleet.source
        assert fleet.prices or fleet.no_price, name
        for price in fleet.prices:
            assert price.kind in price.basis and re.search(r"\d{4}|not stated", price.basis)
            assert price.source and price.usd_per_chip_hour > 0
    assert catalog.fleet("Rainier_400K").chips_at_most == 400_000
    assert "trn2.48xlarge, in place of trn2u.48xlarge" in catalog.fleet("rainier-400k").prices[0].stand_in


def test_a_chip_alone_is_a_fleet() -> None:
    fleet = load_catalog().fleet_of_chip("h100_sxm")
    assert {"p5.48xlarge", "a3-highgpu-8g", "runpod-h100-sxm"} <= {
        price.instance_id for price in fleet.prices
    }
    assert load_catalog().fleet_of_chip("mi355x").no_price == (
        "no instance with mi355x has a price in the catalog",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p5x", "unknown fleet 'p5x' (did you mean 'p5'?"),
        ("p5.48xlarg", "did you mean 'p5.48xlarge'?"),
        ("qqqqq", "unknown fleet 'qqqqq' (`pippin catalog list fleets` lists them)"),
        ("g5.48xlarge", "no row for its chip 'a10g' (add [chips.a10g]"),
    ],
)
def test_an_unknown_fleet_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(PippinError) as caught:
        load_catalog().fleet(name)
    assert message in str(caught.value)
