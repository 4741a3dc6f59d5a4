"""The table of chips: peaks, memory, links and power, each beside its source."""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from math import prod
from typing import Literal, Self

from pydantic import Field, model_validator

from pippin.catalog.tables import Extents, Row, Topology, keyed, parse_table, read_data

Format = Literal["fp32", "tf32", "bf16", "fp8", "fp4", "int8"]
Unit = Literal["chip", "core"]

# The column that says where the others of its group are from.
SOURCE_GROUPS: dict[str, tuple[str, ...]] = {
    "year_source": ("year",),
    "flops_source": (
        *("fp32_tflops", "tf32_tflops", "bf16_tflops", "fp8_tflops", "fp4_tflops", "int8_tops"),
        *("bf16_sparse_tflops", "fp8_sparse_tflops"),
    ),
    "float32_runs_as_source": ("float32_runs_as",),
    "measured_source": ("measured_bf16_tflops", "measured_fp8_tflops"),
    "memory_source": ("memory_size", "memory_unit", "memory_gbytes_per_second"),
    "on_chip_memory_source": ("on_chip_memory_mib", "on_chip_memory_kind"),
    "scaleup_source": (
        *("scaleup_fabric", "scaleup_topology", "scaleup_shape", "scaleup_domain_chips"),
        *("scaleup_gbytes_per_second", "scaleup_link_gbytes_per_second", "scaleup_latency_microseconds"),
    ),
    "scaleout_source": (
        *("scaleout_fabric", "scaleout_gbits_per_second"),
        *("scaleout_latency_microseconds", "scaleout_latency_term"),
    ),
    "power_source": ("power_watts", "power_term"),
    "cores_source": ("cores_per_chip",),
    "instances_source": ("instances", "chips_per_instance"),
}


class CatalogChip(Row):
    """One row of `chips.csv`. Numbers are per chip; None is unknown.

    Peaks are dense matrix TFLOP/s where the name does not say sparse. Links are decimal and count one
    direction: `scaleup_gbytes_per_second` is all that a chip can send to its scale-up domain at once,
    `scaleup_link_gbytes_per_second` what it can send to one neighbour (the same behind a switch). Gbit/s are
    bits. The scale-up domain and `chips_per_instance` are those of the ordinary instance; `instances.csv` and
    `clusters.csv` have the others. `devices_per_chip` and `unit` say what one JAX device is: a whole chip in
    the table itself, possibly a part of one in what `find_chip` returns.
    """

    chip_id: str
    name: str
    vendor: str
    kind: Literal["train", "serve", "train+serve", "cpu", "soc"]
    year: int | None
    year_source: str
    fp32_tflops: float | None = Field(gt=0)
    tf32_tflops: float | None = Field(gt=0)
    bf16_tflops: float | None = Field(gt=0)
    fp8_tflops: float | None = Field(gt=0)
    fp4_tflops: float | None = Field(gt=0)
    int8_tops: float | None = Field(gt=0)
    bf16_sparse_tflops: float | None = Field(gt=0, description="With the vendor's structured sparsity.")
    fp8_sparse_tflops: float | None = Field(gt=0)
    flops_source: str
    float32_runs_as: Format | None = Field(
        description="Format in which the matrix unit multiplies float32 at JAX's default precision."
    )
    float32_runs_as_source: str
    measured_bf16_tflops: float | None = Field(gt=0, description="Best matrix product somebody measured.")
    measured_fp8_tflops: float | None = Field(gt=0)
    measured_source: str
    memory_size: float | None = Field(gt=0, description="As published, in `memory_unit`.")
    memory_unit: str
    memory_gbytes_per_second: float | None = Field(gt=0, description="Decimal GB/s.")
    memory_source: str
    on_chip_memory_mib: float | None = Field(gt=0)
    on_chip_memory_kind: str
    on_chip_memory_source: str
    scaleup_fabric: str
    scaleup_topology: Topology | None
    scaleup_shape: Extents = Field(description="Chips along each axis of a torus; empty where unknown.")
    scaleup_domain_chips: int | None = Field(gt=0)
    scaleup_gbytes_per_second: float | None = Field(gt=0)
    scaleup_link_gbytes_per_second: float | None = Field(gt=0)
    scaleup_latency_microseconds: float | None = Field(gt=0, description="Of one hop.")
    scaleup_source: str
    scaleout_fabric: str
    scaleout_gbits_per_second: float | None = Field(gt=0)
    scaleout_latency_microseconds: float | None = Field(gt=0)
    scaleout_latency_term: str = Field(description="What was timed: a message is not an all-reduce.")
    scaleout_source: str
    power_watts: float | None = Field(gt=0)
    power_term: str = Field(description="What the vendor calls it, or who estimated it.")
    power_source: str
    cores_per_chip: int | None = Field(gt=0, description="Cores, where a JAX device may be one of them.")
    cores_source: str
    instances: str = Field(description="Where the chip is rented or built in, separated by semicolons.")
    chips_per_instance: int | None = Field(gt=0, description="Chips that share a host.")
    instances_source: str
    as_of: date = Field(description="Day the row was last compared with its sources.")
    confidence: str
    disagreements: str = Field(description="Other values seen, and which of them are known to be wrong.")
    devices_per_chip: int = Field(default=1, gt=0)
    unit: Unit = "chip"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.scaleup_shape and prod(self.scaleup_shape) != self.scaleup_domain_chips:
            raise ValueError("scaleup_shape does not multiply to scaleup_domain_chips")
        return self

    def tflops(self, number_format: Format) -> float | None:
        """Dense peak of the whole chip in TFLOP/s (for int8 in TOP/s)."""
        return {
            "fp32": self.fp32_tflops,
            "tf32": self.tf32_tflops,
            "bf16": self.bf16_tflops,
            "fp8": self.fp8_tflops,
            "fp4": self.fp4_tflops,
            "int8": self.int8_tops,
        }[number_format]


def parse_chips(text: str) -> dict[str, CatalogChip]:
    """Chips by id, in the order of the table.

    Raises:
        PippinError: a cell does not fit its column, or an id stands twice.
    """
    rows = parse_table(text, CatalogChip, file="chips.csv", key="chip_id")
    return keyed(rows, "chip_id", file="chips.csv")


@cache
def _chips() -> dict[str, CatalogChip]:
    return parse_chips(read_data("chips.csv"))


def load_chips() -> dict[str, CatalogChip]:
    """All chips of the catalog by id."""
    return dict(_chips())


def load_sources() -> dict[str, str]:
    """What the source keys of the catalog stand for."""
    return dict(tomllib.loads(read_data("sources.toml"))["keys"])
