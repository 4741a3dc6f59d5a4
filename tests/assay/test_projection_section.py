"""The report's section on the projection keeps every interval that the planner has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pippin.assay.findings import Unknown
from pippin.assay.projection import projection_section
from pippin.catalog import load_catalog
from pippin.plan.calibration import shipped_calibration
from pippin.plan.estimate import Estimate
from pippin.plan.projection import Measured, project, read_fleets, read_target
from pippin.report.projection import Projection
from pippin.report.projection_figure import figures

from ..machines import CPU


@pytest.fixture(scope="module")
def planned() -> Any:
    measured = Measured(CPU, None, "2026-11-25", None, "no meter")
    fleets = read_fleets(("p5:64",), load_catalog())
    return project(read_target("apple-on-device-3b"), fleets, shipped_calibration(), measured)


def ends(row: Any, name: str) -> tuple[Any, ...]:
    return tuple(getattr(row, f"{name}{end}") for end in ("_low", "", "_high"))


def expected(estimate: Estimate) -> tuple[Any, ...]:
    low, high = estimate.as_list()
    return low, estimate.value, high


def test_goodput_and_the_price_of_tokens_have_the_planners_intervals(planned: Any) -> None:
    chip = SimpleNamespace(name="Some CPU", platform="cpu")
    found: Any = SimpleNamespace(projected=(planned, 0.1), machine=SimpleNamespace(chip=chip))
    unknown = Unknown()
    said = Projection.model_validate(projection_section(found, unknown))
    own, fleet = said.fleets
    assert ends(fleet, "goodput") == expected(planned.fleets[0].goodput)
    assert 0 < fleet.goodput_low < fleet.goodput < fleet.goodput_high <= 1
    assert ends(own, "goodput") == (None, None, None)
    for end in ("", "_low", "_high"):
        assert "failures of a single machine" in unknown[f"projection.fleets.0.goodput{end}"]
    costs = [cost for cost in planned.fleets[0].costs if cost.usd is not None]
    rows = [row for row in said.costs if row.usd is not None]
    assert len(rows) == len(costs) > 0
    for row, cost in zip(rows, costs, strict=True):
        assert ends(row, "usd_per_million_tokens") == expected(cost.usd_per_million_tokens)
        assert row.usd_per_million_tokens_low < row.usd_per_million_tokens < row.usd_per_million_tokens_high
    tables = {figure.key: figure for figure in figures(said)}
    assert "Goodput (interval)" in str(tables["projection-days"])
    assert "Of a million tokens (interval)" in str(tables["projection-price"])
