"""An assay's report as a measurement of its chip."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pippin.errors import PippinError
from pippin.plan.assayed import run_of_report
from pippin.plan.calibration import parse_calibration, shipped_calibration
from pippin.plan.publish import with_reports
from pippin.plan.reading import shipped_runs
from pippin.plan.runs import Run, Table
from pippin.plan.steptime import step_time
from pippin.plan.validation import headline_runs


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The reports' own sample, on a chip of the catalog."""
    path = Path(__file__).parents[1] / "report/conftest.py"
    spec = importlib.util.spec_from_file_location("report_samples", path)
    assert spec is not None and spec.loader is not None
    samples: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(samples)
    values = samples.known_values()
    values["chip"]["catalog_id"] = "graviton3"
    path = tmp_path / "report.json"
    path.write_text(json.dumps(values))
    return path


def predicted(run: Run, calibration: Any) -> float:
    table = Table.of([run])
    step = step_time(table.shapes, table.layouts, table.systems, calibration).step_seconds
    return float(np.ravel(step)[0])


def test_a_report_is_a_run_of_its_preset_on_its_chip(report: Path) -> None:
    run = run_of_report(report)
    assert (run.chip_id, run.model, run.refused) == ("graviton3", "pippin-5m", None)
    assert run.step_seconds > 0
    assert run.system is not None and run.system.stack == "jax"


def test_a_report_moves_its_chip_towards_what_it_measured_and_leaves_others(report: Path) -> None:
    run = run_of_report(report)
    base = [r for r in shipped_runs() if r.source.startswith(("Korthikanti", "MaxText v4", "tpu-recipes"))]
    fitted = parse_calibration(with_reports(base, [run]).model_dump_json(), "test")
    without = parse_calibration(with_reports(base, []).model_dump_json(), "test")
    before, after = (abs(np.log(predicted(run, c) / run.step_seconds)) for c in (without, fitted))
    assert after < 0.3 * before
    for other in headline_runs(base):
        assert predicted(other, fitted) == predicted(other, without)
    assert fitted.spreads == shipped_calibration().spreads


def outside_the_catalog(report: Path, **changes: Any) -> Path:
    values = json.loads(report.read_text())
    values["chip"]["catalog_id"] = None
    values["unknown"]["chip.catalog_id"] = "not in the catalog"
    values["basis"] |= changes
    values["unknown"] |= {f"basis.{name}": "not measured" for name, value in changes.items() if value is None}
    report.write_text(json.dumps(values))
    return report


def test_a_machine_outside_the_catalog_is_known_by_what_was_measured_on_it(report: Path) -> None:
    run = run_of_report(outside_the_catalog(report))
    assert run.system is not None and not run.system.rated
    assert run.chip_id == "measured:amd-epyc-9r14-96-core-processor-2-cores"
    assert (run.system.matrix_flops, run.system.memory_bytes_per_second) == (201e9, 31.4e9)
    assert run.system.precision == "fp32"


def test_neither_rated_nor_measured_is_an_error(report: Path) -> None:
    with pytest.raises(PippinError, match="neither the catalog nor a measurement"):
        run_of_report(outside_the_catalog(report, measured_peak_flops_per_second=None))
