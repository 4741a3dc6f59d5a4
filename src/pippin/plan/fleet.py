"""From the catalog's fleets to what cost is computed on."""

from __future__ import annotations

from pippin.catalog import Fleet
from pippin.plan.cost import PriceBasis
from pippin.plan.failures import FailureRate, Recovery, failure_rate
from pippin.plan.prospect import Site

_NODE_CHIPS = 8  # where the catalog does not say how many chips share a host


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


def site_of(
    fleet: Fleet,
    times: Recovery,
    *,
    rate: FailureRate | None = None,
    facility_overhead: float | None = None,
) -> Site:
    """The fleet as goodput, cost and energy take it.

    Args:
        times: what a failure costs.
        rate: of the chip; by default the one that failures.toml has for it.
        facility_overhead: energy of the facility over that of its chips, if known.
    """
    chip = fleet.chip
    return Site(
        chip_id=chip.chip_id,
        chip_name=chip.name,
        node_chips=chip.chips_per_instance or _NODE_CHIPS,
        prices=price_bases(fleet),
        watts=chip.power_watts,
        power_term=chip.power_term,
        power_source=chip.power_source,
        rate=rate or failure_rate(chip.chip_id),
        times=times,
        facility_overhead=facility_overhead,
    )
