"""A calibration: the coefficients' values, how sure they are, and what they rest on. A JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pippin.errors import PippinError
from pippin.plan.coefficients import Coefficients, gather, groups_of, own_key_of
from pippin.plan.layout import Floats
from pippin.plan.system import System, Systems

SCHEMA_VERSION = 1
# How much of a system the calibration rows had.
Known = Literal["pair", "chip", "nothing"]
# Half the width of an 80 % interval, in logarithms, where no calibration measured it.
_PRIOR_SPREAD = 0.5


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TermValue(_Frozen):
    """One term of a coefficient's logarithm (see `coefficients`)."""

    value: float
    sd: float = Field(ge=0, description="Standard deviation after the fit.")
    prior: float
    prior_sd: float = Field(gt=0)
    rows: int = Field(ge=0, description="Calibration rows that the term enters.")


class Source(_Frozen):
    name: str
    rows: int


class Provenance(_Frozen):
    """What a calibration was fitted to, when and by which version."""

    version: str
    date: date
    rows: int
    row_ids: tuple[str, ...] = Field(description="The rows that it was fitted to.")
    sources: tuple[Source, ...]


class Assayed(_Frozen):
    """What assays of one machine taught of it, beside the terms (see `own`). Logarithms, by coefficient."""

    reports: tuple[str, ...] = Field(min_length=1, description="Ids of the assays.")
    before: dict[str, float] = Field(description="Standard deviations before the assays.")
    shifts: dict[str, float] = Field(description="By how much the assays moved each.")
    slopes: tuple[dict[str, float], ...] = Field(description="Of each assay's step by each coefficient.")


class CalibrationFile(_Frozen):
    schema_version: int
    provenance: Provenance
    terms: dict[str, TermValue]
    spreads: dict[str, float] = Field(description="Half widths of 80 % intervals in logarithms, by group.")
    assayed: dict[str, Assayed] = Field(
        default_factory=dict, description="Machines that were assayed, by software and chip."
    )


@dataclass(frozen=True)
class Calibration:
    """Coefficients for any system, and how far predictions with them may be off."""

    values: dict[str, float]  # logarithms by term
    spreads: dict[str, float]
    provenance: Provenance | None = None
    terms: dict[str, TermValue] | None = None
    assayed: dict[str, Assayed] = field(default_factory=dict)  # by software and chip

    @property
    def row_ids(self) -> frozenset[str]:
        """Ids of the rows that it was fitted to, assays with them."""
        assays = [name for found in self.assayed.values() for name in found.reports]
        return frozenset((*(self.provenance.row_ids if self.provenance else ()), *assays))

    def said_of(self, system: System) -> str:
        """What predictions of a system rest on, in words."""
        if self.provenance is None:
            return "no calibration: physical priors only"
        found = self.assayed.get(groups_of(system)["pair"])
        assays = len(found.reports) if found else 0
        seen = self.provenance
        said = f"calibration of {seen.date} on {seen.rows} runs of {len(seen.sources)} sources"
        return said + (f", with {assays} assay{'s' * (assays > 1)} of this machine" if assays else "")

    @classmethod
    def prior(cls) -> Self:
        """What is thought before any run is seen."""
        return cls({}, {})

    def coefficients(self, systems: Systems | System) -> Coefficients:
        """The coefficients of every row."""
        return gather(Systems.of(systems) if isinstance(systems, System) else systems, self.values)

    def spread(self, systems: Systems | System, with_experts: Any) -> Floats:
        """Half the width of the 80 % interval of a step's logarithm, per row.

        Args:
            systems: what the rows run on.
            with_experts: whether the model has experts, per row or for all.
        """
        systems = Systems.of(systems) if isinstance(systems, System) else systems
        dense, moe = ([self._spread(s, kind) for s in systems.distinct] for kind in ("dense", "experts"))
        spreads: Floats = np.where(with_experts, systems.gather(moe), systems.gather(dense))
        return spreads

    def _spread(self, system: System, kind: str) -> float:
        """The most particular group that the calibration measured."""
        if not system.rated:
            return max(_PRIOR_SPREAD, self.spreads.get("unknown chip", 0.0))  # no row is of its kind
        groups = spread_groups(system, kind, self.knows(system))
        return next((self.spreads[group] for group in groups if group in self.spreads), _PRIOR_SPREAD)

    def knows(self, system: System) -> Known:
        """Whether its rows had the chip with this software, the chip, or neither."""
        groups = groups_of(system)
        if self._rows(f"scale@pair={groups['pair']}") > 1:  # one measurement teaches no width
            return "pair"
        return "chip" if self._rows(f"scale@chip={groups['chip']}") > 1 else "nothing"

    def _rows(self, key: str) -> int:
        return self.terms[key].rows if self.terms and key in self.terms else 0


def spread_groups(system: System, kind: str, known: Known) -> list[str]:
    """Groups of rows that share the width of an interval, the most particular first."""
    if known == "pair":
        return [f"{kind}/{system.stack}/{system.chip_id}", f"{kind}/{system.stack}", kind, "all"]
    unknown = "unknown software" if known == "chip" else "unknown chip"
    return [f"{kind}/{unknown}", unknown, "unknown software", "all"]


def read_calibration(path: Path) -> Calibration:
    """A calibration that `pippin calibrate` wrote.

    Raises:
        PippinError: the file is not there, or is not one.
    """
    try:
        return parse_calibration(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise PippinError("cannot be read", where=path, fix=str(error.strerror)) from error


def parse_calibration(text: str, where: str) -> Calibration:
    """The calibration in a JSON text."""
    return of_file(parse_file(text, where))


def parse_file(text: str, where: str) -> CalibrationFile:
    """The file itself; raises as `read_calibration` does."""
    try:
        file = CalibrationFile.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise PippinError(
            "not a calibration file", where=where, fix="make one with pippin calibrate RUNS.csv --out FILE"
        ) from error
    if file.schema_version != SCHEMA_VERSION:
        raise PippinError(
            f"schema version {file.schema_version}, this program knows {SCHEMA_VERSION}", where=where
        )
    return file


def shifted(assayed: Mapping[str, Assayed]) -> dict[str, float]:
    """The terms by which assays shift the coefficients of their own machines."""
    return {
        own_key_of(pair, name): shift
        for pair, found in assayed.items()
        for name, shift in found.shifts.items()
    }


def of_file(file: CalibrationFile) -> Calibration:
    """The calibration that a file describes."""
    values = {key: term.value for key, term in file.terms.items()} | shifted(file.assayed)
    return Calibration(values, dict(file.spreads), file.provenance, dict(file.terms), dict(file.assayed))


@cache
def shipped_file() -> CalibrationFile | None:
    """The calibration file in this package; None where it has none."""
    resource = files("pippin.plan").joinpath("data", "calibration.json")
    if not resource.is_file():
        return None
    return parse_file(resource.read_text(encoding="utf-8"), "the shipped calibration")


@cache
def shipped_calibration() -> Calibration:
    """The calibration in this package; the priors where it has none."""
    file = shipped_file()
    return of_file(file) if file else Calibration.prior()
