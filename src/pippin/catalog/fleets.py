"""A fleet: a chip with the links it has where it is rented, how many at most, and what one costs an hour."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pippin.catalog.chips import CatalogChip
from pippin.catalog.instances import Instance, Price, PriceKind, Trust, current
from pippin.catalog.tables import Row, keyed, parse_table, read_data


class FleetRow(Row):
    """One row of `fleets.csv`: instances that can be rented together.

    `chips_at_most` is empty where no page says it; `source` is of that number.
    """

    fleet_id: str
    name: str
    chip_id: str
    instance_id: str
    price_instance_id: str
    chips_at_most: int | None = Field(gt=0)
    source: str
    note: str


class ChipPrice(BaseModel):
    """What one chip costs an hour, and everything that this figure rests on.

    `instance_id` is the box that is priced. `stand_in` is empty, or says whose price this is where the fleet
    itself has none.
    """

    model_config = ConfigDict(frozen=True)

    provider: str
    instance_id: str
    chips_per_instance: int
    usd_per_chip_hour: float
    kind: PriceKind
    term: str
    region: str
    date: str
    basis: str
    stand_in: str
    source: str
    trust: Trust | None
    note: str


class Fleet(BaseModel):
    """Chips to plan for.

    `chip` has the links of the instance, which may differ from the chip's row. `chips_at_most` None: no
    limit is known. `prices` are those that hold now, `no_price` says why one is missing.
    """

    model_config = ConfigDict(frozen=True)

    fleet_id: str
    name: str
    chip: CatalogChip
    instance_id: str
    chips_at_most: int | None
    prices: tuple[ChipPrice, ...]
    no_price: tuple[str, ...]
    source: str
    note: str
    users_fields: tuple[str, ...]


def linked(chip: CatalogChip, instance: Instance) -> CatalogChip:
    """The chip with the scale-up domain and the way out that it has in this instance."""
    changed: dict[str, Any] = {}
    domain = instance.scaleup_domain_chips
    if domain and domain != chip.scaleup_domain_chips:
        changed |= {"scaleup_domain_chips": domain, "scaleup_shape": instance.scaleup_shape}
    for field in ("scaleup_topology", "scaleup_gbytes_per_second", "scaleup_link_gbytes_per_second"):
        if (value := getattr(instance, field)) is not None:
            changed[field] = value
    if instance.scaleup_topology or instance.scaleup_gbytes_per_second:
        changed["scaleup_source"] = instance.source
    if instance.network_gbits_per_second and instance.chips:
        changed["scaleout_gbits_per_second"] = instance.network_gbits_per_second / instance.chips
    if instance.chips and domain and domain <= instance.chips < (chip.chips_per_instance or 0):
        changed["chips_per_instance"] = instance.chips  # a small size of the family, on a host of its own
    return chip.model_copy(update=changed)


def chip_prices(prices: tuple[Price, ...], box: Instance, *, wanted: str) -> tuple[ChipPrice, ...]:
    """The prices of a box that hold now, for one chip of it.

    Args:
        wanted: the instance the fleet is built of; prices of another box are marked as standing in.
    """
    if not box.chips:
        return ()
    here = tuple(price for price in prices if price.instance_id == box.instance_id)
    stand_in = "" if wanted == box.instance_id else f"{box.instance_id}, in place of {wanted or 'its own'}"
    return tuple(
        ChipPrice(
            provider=box.provider,
            instance_id=box.instance_id,
            chips_per_instance=box.chips,
            usd_per_chip_hour=(price.usd_per_hour or 0.0) / box.chips,
            kind=price.kind,
            term=price.term,
            region=price.region,
            date=price.date or price.as_of,
            basis=price.basis,
            stand_in=stand_in,
            source=price.source,
            trust=price.trust,
            note=price.note,
        )
        for price in current(here)
    )


@cache
def _fleets() -> dict[str, FleetRow]:
    rows = parse_table(read_data("fleets.csv"), FleetRow, file="fleets.csv", key="fleet_id")
    return keyed(rows, "fleet_id", file="fleets.csv")


def load_fleet_rows() -> dict[str, FleetRow]:
    """The fleets of `fleets.csv` by id; `Catalog.fleet` knows clusters and instances too."""
    return dict(_fleets())
