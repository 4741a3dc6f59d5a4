"""Published claims as they were made, and the measurements that bear on them. Their worth: `plan.claims`."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pippin.catalog.tables import Row, keyed, parse_table, read_data


def _numbers(cell: object) -> object:
    return tuple(cell.split(";")) if isinstance(cell, str) else cell or ()


class ClaimRow(Row):
    """One row of `claims.csv`. `claimed` are its own numbers, in `unit` and in its order."""

    claim_id: str
    topic: Literal["training", "serving", "peak", "energy", "network", "price", "other"]
    claim: str
    claimed: Annotated[tuple[float, ...], BeforeValidator(_numbers)] = Field(min_length=1)
    unit: str
    said_by: str
    date: str
    source: str
    trust: str


class Measurement(Row):
    """One row of `measurements.csv`: what somebody measured. Tier A: all conditions are known."""

    measurement_id: str
    what: str
    model: str
    chip_id: str
    chips: int | None = Field(gt=0)
    value: float
    unit: str
    sequence_length: int | None = Field(gt=0)
    tier: Literal["A", "B", "C"]
    source: str
    note: str


@cache
def load_claims() -> dict[str, ClaimRow]:
    """All claims by id, in the order of the table."""
    rows = parse_table(read_data("claims.csv"), ClaimRow, file="claims.csv", key="claim_id")
    return keyed(rows, "claim_id", file="claims.csv")


@cache
def load_measurements() -> dict[str, Measurement]:
    """All measurements by id."""
    rows = parse_table(
        read_data("measurements.csv"), Measurement, file="measurements.csv", key="measurement_id"
    )
    return keyed(rows, "measurement_id", file="measurements.csv")
