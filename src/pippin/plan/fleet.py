"""From the catalog's fleets to what cost is computed on."""

from __future__ import annotations

from pippin.catalog import Fleet
from pippin.plan.cost import PriceBasis


def price_bases(fleet: Fleet) -> tuple[PriceBasis, ...]:
    """Every price of a fleet that holds now, and for each that is missing the reason.

    A price of another box with this chip says so in its source; nothing is filled in.
    """
    known = tuple(
        PriceBasis(
            provider=price.provider,
            instance=price.instance_id,
            chips_per_instance=price.chips_per_instance,
            kind=price.kind,
            term=price.term,
            region=price.region or "region not stated",
            date=price.date or "date not stated",
            source=f"stand-in, {price.stand_in}: {price.source}" if price.stand_in else price.source,
            trust=price.trust or "",
            usd_per_chip_hour=price.usd_per_chip_hour,
        )
        for price in fleet.prices
    )
    return (*known, *(_unknown(fleet, reason) for reason in fleet.no_price))


def _unknown(fleet: Fleet, reason: str) -> PriceBasis:
    return PriceBasis(
        provider="",
        instance=fleet.instance_id,
        chips_per_instance=fleet.chip.chips_per_instance or 1,
        kind="none found",
        term="",
        region="",
        date="",
        source="",
        trust="",
        usd_per_chip_hour=None,
        why_unknown=reason,
    )
