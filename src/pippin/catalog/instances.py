"""What can be rented, and every price of it that was seen, with kind, region and date."""

from __future__ import annotations

from functools import cache
from typing import Literal, Self

from pydantic import Field, model_validator

from pippin.catalog.tables import Extents, Row, Topology, keyed, parse_table, read_data

PriceKind = Literal["on demand", "capacity block", "reserved", "spot", "none found"]
Trust = Literal["high", "medium", "low", "do not use"]
_TRUSTED: tuple[Trust, ...] = ("high", "medium", "low")


class Instance(Row):
    """One row of `instances.csv`: a box, or a rack, that is rented as a whole. None is unknown.

    `chips` share one price and, with `network_gbits_per_second` between them, the way out. The scale-up
    domain may be larger than the instance. The scale-up columns are filled only where the box differs from
    what its chip's row says. A CPU instance has no `chips`: it is rented by the vCPU.
    """

    instance_id: str
    name: str
    provider: str
    chip_id: str
    chips: int | None = Field(gt=0)
    vcpus: int | None = Field(gt=0)
    host_memory_gib: float | None = Field(gt=0)
    network_gbits_per_second: float | None = Field(gt=0)
    scaleup_domain_chips: int | None = Field(gt=0)
    scaleup_topology: Topology | None
    scaleup_shape: Extents
    scaleup_gbytes_per_second: float | None = Field(gt=0)
    scaleup_link_gbytes_per_second: float | None = Field(gt=0)
    source: str
    note: str


class Price(Row):
    """One row of `prices.csv`: what somebody saw, or that nothing was found.

    US dollars an hour for the whole instance. `date` is as the source states it, `as_of` the last day (or
    month, or year) for which it is known to hold, so that text order is order in time.
    """

    instance_id: str
    kind: PriceKind
    term: str
    usd_per_hour: float | None = Field(gt=0)
    region: str
    date: str
    as_of: str = Field(pattern=r"^(\d{4}(-\d{2}(-\d{2})?)?)?$")
    source: str
    trust: Trust | None
    why_unknown: str
    note: str

    @model_validator(mode="after")
    def _known_or_explained(self) -> Self:
        if (self.usd_per_hour is None) != bool(self.why_unknown):
            raise ValueError("a price is either known or says in why_unknown why it is not")
        return self

    @property
    def usable(self) -> bool:
        """Whether it is a price at all, and not one known to be wrong."""
        return self.usd_per_hour is not None and self.trust in _TRUSTED

    @property
    def basis(self) -> str:
        """Kind, term, region and date in words, as every figure in dollars has to carry them."""
        when = self.date or self.as_of or "date not stated"
        parts = [self.kind, self.term, self.region or "region not stated", when]
        return ", ".join([*filter(None, parts), *(["the user's file"] if self.users_fields else [])])


def current(prices: tuple[Price, ...]) -> tuple[Price, ...]:
    """The usable prices that no newer one of the same instance, kind and term has replaced.

    A price of the user's replaces all of its instance, kind and term. Two regions on one day both stay.
    """
    newest: dict[tuple[str, str, str], tuple[bool, str]] = {}
    usable = [price for price in prices if price.usable]
    for price in usable:
        key = (price.instance_id, price.kind, price.term)
        newest[key] = max(newest.get(key, (False, "")), _rank(price))
    return tuple(p for p in usable if _rank(p) == newest[(p.instance_id, p.kind, p.term)])


def _rank(price: Price) -> tuple[bool, str]:
    return bool(price.users_fields), price.as_of


@cache
def _instances() -> dict[str, Instance]:
    rows = parse_table(read_data("instances.csv"), Instance, file="instances.csv", key="instance_id")
    return keyed(rows, "instance_id", file="instances.csv")


@cache
def load_prices() -> tuple[Price, ...]:
    """Every price seen, in the order of the table; unknown ones with the reason."""
    return tuple(parse_table(read_data("prices.csv"), Price, file="prices.csv", key="instance_id"))


def load_instances() -> dict[str, Instance]:
    """All instances of the catalog by id."""
    return dict(_instances())
