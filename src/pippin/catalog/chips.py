"""The table of chips: published peaks, memory and power, each beside its source."""

from __future__ import annotations

import csv
import io
import tomllib
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pippin.errors import PippinError

Format = Literal["fp32", "tf32", "bf16", "fp8"]
Unit = Literal["chip", "core"]


class CatalogChip(BaseModel):
    """One row of `chips.csv`. Numbers are per chip; None is unknown.

    Peaks are dense matrix TFLOP/s. `devices_per_chip` and `unit` say what one JAX device is: a whole chip
    in the table itself, possibly a part of one in what `find_chip` returns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    flops_source: str
    float32_runs_as: Format | None = Field(
        description="Format in which the matrix unit multiplies float32 at JAX's default precision."
    )
    float32_runs_as_source: str
    memory_size: float | None = Field(gt=0, description="As published, in `memory_unit`.")
    memory_unit: str
    memory_gbytes_per_second: float | None = Field(gt=0, description="Decimal GB/s.")
    memory_source: str
    power_watts: float | None = Field(gt=0)
    power_term: str = Field(description="What the vendor calls it, or who estimated it.")
    power_source: str
    cores_per_chip: int | None = Field(gt=0, description="Cores, where a JAX device may be one of them.")
    cores_source: str
    as_of: date = Field(description="Day the row was last compared with its sources.")
    confidence: str
    disagreements: str = Field(description="Other values seen, and which of them are known to be wrong.")
    devices_per_chip: int = Field(default=1, gt=0)
    unit: Unit = "chip"

    def tflops(self, number_format: Format) -> float | None:
        """Dense peak of the whole chip in TFLOP/s."""
        return {
            "fp32": self.fp32_tflops,
            "tf32": self.tf32_tflops,
            "bf16": self.bf16_tflops,
            "fp8": self.fp8_tflops,
        }[number_format]


def read_data(name: str) -> str:
    """The text of a data file of this package."""
    return files("pippin.catalog").joinpath(name).read_text(encoding="utf-8")


# Columns in which an empty cell is a missing number, not an empty remark.
_NULLABLE = {name for name, field in CatalogChip.model_fields.items() if field.annotation is not str}


def parse_chips(text: str) -> dict[str, CatalogChip]:
    """Chips by id, in the order of the table.

    Raises:
        PippinError: a cell does not fit its column, or an id stands twice.
    """
    chips: dict[str, CatalogChip] = {}
    for line, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        cells = {key: (value or None) if key in _NULLABLE else value for key, value in row.items()}
        where = f"chips.csv, row {line} ({row.get('chip_id')})"
        try:
            chip = CatalogChip.model_validate(cells)
        except ValidationError as error:
            first = error.errors()[0]
            column = ".".join(str(part) for part in first["loc"])
            raise PippinError(f"column '{column}': {first['msg']}", where=where) from error
        if chip.chip_id in chips:
            raise PippinError("this chip id stands in an earlier row too", where=where)
        chips[chip.chip_id] = chip
    return chips


@cache
def _chips() -> dict[str, CatalogChip]:
    return parse_chips(read_data("chips.csv"))


def load_chips() -> dict[str, CatalogChip]:
    """All chips of the catalog by id."""
    return dict(_chips())


def load_sources() -> dict[str, str]:
    """What the source keys of the catalog stand for."""
    return dict(tomllib.loads(read_data("sources.toml"))["keys"])
