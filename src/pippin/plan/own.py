"""What an assay of one machine teaches of that machine, and of no other.

A calibration knows each coefficient with a standard deviation. An assay is one equation more for the machine
that it ran on: by how much the logarithm of its step was off, and how that depends on each coefficient. The
shifts of this machine's coefficients are the most probable ones given its assays (Bayesian linear regression
on logarithms, repeated where the model is not linear); no other system has them, so no other figure moves.

An interval of this machine narrows by the ratio of the model's standard deviation after the assays to that
before: most for the job that was assayed, less for one that depends on other coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pippin.plan.calibrate import predict, slopes
from pippin.plan.calibration import Assayed, Calibration, CalibrationFile, of_file, shifted
from pippin.plan.coefficients import NAMES, groups_of, is_own, keys_of, prior_of
from pippin.plan.estimate import Estimate
from pippin.plan.layout import Floats, Layouts
from pippin.plan.runs import Run, Table
from pippin.plan.shape import Shapes
from pippin.plan.steptime import step_time
from pippin.plan.system import System, Systems

# Noise of one assay's logarithm. The same steps on a shared machine minutes apart differed by 2 to 21 %
# (docs/projection.md); rows of published runs are quieter.
_NOISE = 0.12
_ROUNDS = 6  # of relinearising; the model is nearly linear in these logarithms


def fold_in(file: CalibrationFile, reports: Sequence[Run]) -> CalibrationFile:
    """The calibration with what assays say of their own machines, beside what earlier ones said.

    Args:
        file: of other runs, perhaps with assays.
        reports: runs that `assayed` made of reports; those that the file has are left out.
    """
    found: dict[str, Assayed] = dict(file.assayed)
    for run in reports:
        found = _with(of_file(file.model_copy(update={"assayed": {}})), found, run)
    return file.model_copy(update={"assayed": found})


def learned(calibration: Calibration, run: Run) -> Calibration:
    """The calibration with one assay more."""
    values = {key: value for key, value in calibration.values.items() if not is_own(key)}
    base = replace(calibration, assayed={}, values=values)
    found = _with(base, calibration.assayed, run)
    return replace(base, assayed=found, values=values | shifted(found))


def _with(base: Calibration, found: Mapping[str, Assayed], run: Run) -> dict[str, Assayed]:
    pair = _pair(run)
    earlier = found.get(pair)
    if earlier and run.id in earlier.reports:
        return dict(found)
    return {**found, pair: _learned(base, run, earlier)}


def intervals(
    calibration: Calibration,
    step_seconds: Floats,
    shapes: Shapes,
    layouts: Layouts,
    systems: Systems | System,
    with_experts: Any,
) -> tuple[Floats, Floats]:
    """The 80 % prediction interval of step times, narrowed for machines that were assayed."""
    systems = Systems.of(systems) if isinstance(systems, System) else systems
    spread = calibration.spread(systems, with_experts)
    pairs = {groups_of(system)["pair"] for system in systems.distinct}
    if pairs & calibration.assayed.keys():
        spread = spread * _narrowing(calibration, shapes, layouts, systems)
    factor = np.exp(spread)
    return step_seconds / factor, step_seconds * factor


@dataclass(frozen=True)
class Effect:
    """What folding an assay in did to the prediction of that very assay."""

    run: Run
    before: Estimate
    after: Estimate


def effects(reports: Sequence[Run], file: CalibrationFile) -> list[Effect]:
    """Each assay's step as predicted without any assay, and with those in the file."""
    without = of_file(file.model_copy(update={"assayed": {}}))
    return [Effect(run, _expected(run, without), _expected(run, of_file(file))) for run in reports]


def _expected(run: Run, calibration: Calibration) -> Estimate:
    table = Table.of([run])
    seconds = step_time(table.shapes, table.layouts, table.systems, calibration).step_seconds
    experts = table.shapes.moe_layers > 0
    ends = intervals(calibration, seconds, table.shapes, table.layouts, table.systems, experts)
    return Estimate(*(float(np.ravel(x)[0]) for x in (seconds, *ends)))


def _pair(run: Run) -> str:
    assert run.system is not None
    return groups_of(run.system)["pair"]


def _deviations(calibration: Calibration, system: System) -> dict[str, float]:
    """Standard deviation of each coefficient's logarithm on a system: of its terms, taken as independent."""
    terms = calibration.terms or {}

    def variance(key: str) -> float:
        return float((terms[key].sd if key in terms else prior_of(key)[1]) ** 2)

    return {name: sum(variance(key) for key in keys_of(system, name)) ** 0.5 for name in NAMES}


def _learned(base: Calibration, run: Run, earlier: Assayed | None) -> Assayed:
    """The most probable shifts given one assay more; what earlier ones left is the prior of this one."""
    table = Table.of([run])
    assert run.system is not None
    before = earlier.before if earlier else _deviations(base, run.system)
    slopes_before = earlier.slopes if earlier else ()
    deviations, seen = _row(before), np.array([_row(each) for each in slopes_before]).reshape(-1, len(NAMES))
    mean = _row(earlier.shifts) if earlier else np.zeros(len(NAMES))
    start, shifts = _logarithms(base, table.systems), mean
    for _ in range(_ROUNDS):
        logs = {name: start[name] + shift for name, shift in zip(NAMES, shifts, strict=True)}
        expected = predict(logs, table)
        jacobian = _columns(slopes(logs, table, expected), 1)
        residual = np.log(table.measured) - expected + jacobian @ (shifts - mean)
        after = _after(deviations, np.concatenate([seen, jacobian]))
        shifts = np.asarray(mean + after @ jacobian.T @ residual / _NOISE**2, np.float64)
    return Assayed(
        reports=(*(earlier.reports if earlier else ()), run.id),
        before=before,
        shifts=_named(shifts),
        slopes=(*slopes_before, _named(jacobian[0])),
    )


def _row(by_name: Mapping[str, float]) -> Floats:
    return np.array([by_name[name] for name in NAMES])


def _named(row: Floats) -> dict[str, float]:
    return dict(zip(NAMES, map(float, row), strict=True))


def _after(deviations: Floats, jacobian: Floats) -> Floats:
    """Covariance of the coefficients' logarithms once the rows of the Jacobian were measured."""
    known = np.diag(deviations**-2.0) + jacobian.T @ jacobian / _NOISE**2
    return np.asarray(np.linalg.inv(known), np.float64)


def _narrowing(calibration: Calibration, shapes: Shapes, layouts: Layouts, systems: Systems) -> Floats:
    """Per row, the model's standard deviation after the assays of its machine over that before; at most 1."""
    table = Table(shapes, layouts, systems, None)
    logs = _logarithms(calibration, systems)
    base = predict(logs, table)
    rows = np.size(base)
    jacobian = _columns(slopes(logs, table, base), rows)
    factors = np.ones((len(systems.distinct), rows))
    for place, system in enumerate(systems.distinct):
        found = calibration.assayed.get(groups_of(system)["pair"])
        if found is None:
            continue
        deviations, seen = _row(found.before), np.array([_row(slope) for slope in found.slopes])
        after = np.einsum("ni,ij,nj->n", jacobian, _after(deviations, seen), jacobian)
        before = jacobian**2 @ deviations**2
        factors[place] = np.sqrt((after + _NOISE**2) / (before + _NOISE**2))
    index = np.zeros(rows, np.int64) if systems.index is None else systems.index
    narrowed: Floats = factors[index, np.arange(rows)]
    return narrowed


def _logarithms(calibration: Calibration, systems: Systems) -> dict[str, Any]:
    coefficients = calibration.coefficients(systems)
    return {name: np.log(getattr(coefficients, name)) for name in NAMES}


def _columns(by_name: dict[str, Floats], rows: int) -> Floats:
    """[rows, coefficients]."""
    return np.stack([np.broadcast_to(np.ravel(by_name[name]), rows) for name in NAMES], axis=1)
