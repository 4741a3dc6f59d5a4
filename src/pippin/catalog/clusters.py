"""Clusters and racks that somebody built, announced or compared."""

from __future__ import annotations

from functools import cache

from pydantic import Field

from pippin.catalog.chips import CatalogChip, Format
from pippin.catalog.tables import Row, keyed, parse_table, read_data


class Cluster(Row):
    """One row of `clusters.csv`. `chips` counts what the chip's row counts (a GB200 is one GPU).

    `instance_id` is the box it is built of; empty: the chip's row has its links. `price_instance_id` is the
    box whose prices stand in for it. Megawatts as the source states them, of what `megawatts_what` says.
    """

    cluster_id: str
    name: str
    owner: str
    chip_id: str
    chips: int = Field(gt=0)
    instance_id: str
    price_instance_id: str
    as_of: str
    status: str
    megawatts_low: float | None = Field(gt=0)
    megawatts_high: float | None = Field(gt=0)
    megawatts_what: str
    source: str
    note: str

    def exaflops(self, chip: CatalogChip, number_format: Format) -> float | None:
        """Chips times the rated dense peak of one."""
        peak = chip.tflops(number_format)
        return None if peak is None else self.chips * peak / 1e6


@cache
def _clusters() -> dict[str, Cluster]:
    rows = parse_table(read_data("clusters.csv"), Cluster, file="clusters.csv", key="cluster_id")
    return keyed(rows, "cluster_id", file="clusters.csv")


def load_clusters() -> dict[str, Cluster]:
    """All clusters of the catalog by id."""
    return dict(_clusters())
