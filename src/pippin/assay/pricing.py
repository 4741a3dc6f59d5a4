"""What the measured chips cost an hour, on every basis that the catalog has today."""

from __future__ import annotations

from typing import Any

from pippin.catalog.catalog import load_catalog
from pippin.train.setup import Machine


def catalog_prices(machine: Machine) -> list[dict[str, Any]] | None:
    """The price rows of the report, cheapest first within a kind; None where the catalog lacks the chip.

    Raises:
        PippinError: the user's own catalog file cannot be used.
    """
    catalog = load_catalog()
    if machine.known is None:
        return None
    chips = machine.chip.num_devices / machine.known.devices_per_chip
    prices = catalog.fleet_of_chip(machine.known.chip_id).prices
    return [
        {
            "provider": price.provider,
            "instance": price.instance_id,
            "chips_per_instance": price.chips_per_instance,
            "kind": price.kind,
            "term": price.term,
            "region": price.region or "not stated",
            "date": price.date or "not stated",
            "source": price.source,
            "usd_per_instance_hour": price.usd_per_chip_hour * price.chips_per_instance,
            "usd_per_hour": price.usd_per_chip_hour * chips,
        }
        for price in sorted(prices, key=lambda price: (price.kind, price.term, price.usd_per_chip_hour))
    ]
