"""Fits the coefficients to measured runs: robust least squares on log ratios, held by the priors.

All terms of a coefficient (its base value and its deviations) act on a row alike, so one evaluation of the
model per coefficient gives the whole Jacobian.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pippin.plan.calibration import Calibration, TermValue
from pippin.plan.coefficients import NAMES, Coefficients, keys_of, prior_of, term_keys
from pippin.plan.layout import Floats
from pippin.plan.runs import Run, Table
from pippin.plan.steptime import evaluate

# Noise of one row's logarithm, and the size of an error from which on a row counts less (soft L1).
NOISE, ROBUST = 0.08, 0.12
# vTrain's sweep is composed from per-layer timings: 1,440 rows, about 32 independent ones.
_COMPOSED_ROWS = 32.0
_STEP, _ROUNDS, _TOLERANCE = 1e-4, 60, 3e-6


def row_weights(runs: Sequence[Run]) -> Floats:
    """Weights of rows: those of one model, chip and source share the weight of the root of their number."""
    keys = [(run.source, run.model, run.chip_id, run.precision) for run in runs]
    counts = Counter(keys)
    weights = np.array([counts[key] ** -0.5 for key in keys])
    composed = np.array([is_composed(run) for run in runs])
    if composed.any():
        weights[composed] *= _COMPOSED_ROWS / weights[composed].sum()
    return weights


def is_composed(run: Run) -> bool:
    """Whether a row's time was put together from per-layer timings."""
    return run.id.startswith("vtrain-single")


@dataclass(frozen=True)
class Design:
    """Which terms make which coefficient of which row."""

    keys: list[str]
    mean: Floats
    sd: Floats
    members: dict[str, Any]  # coefficient: indices of terms, one column per level, one line per system

    @classmethod
    def of(cls, table: Table) -> Design:
        systems = table.systems.distinct
        keys = term_keys(systems)
        place = {key: i for i, key in enumerate(keys)}
        members = {
            name: np.array([[place[key] for key in keys_of(system, name)] for system in systems])
            for name in NAMES
        }
        priors = [prior_of(key) for key in keys]
        return cls(keys, np.array([p[0] for p in priors]), np.array([p[1] for p in priors]), members)

    def logarithms(self, theta: Floats, table: Table) -> dict[str, Floats]:
        """Each coefficient's logarithm per row."""
        return {
            name: table.systems.gather(theta[indices].sum(axis=1)) for name, indices in self.members.items()
        }


def predict(logarithms: dict[str, Any], table: Table) -> Floats:
    """Logarithms of the step times of a table."""
    coefficients = Coefficients(**{name: np.exp(value) for name, value in logarithms.items()})
    step = evaluate(table.shapes, table.layouts, table.systems, coefficients)
    logs: Floats = np.log(step.step_seconds)
    return logs


def slopes(logarithms: dict[str, Any], table: Table, base: Floats) -> dict[str, Floats]:
    """Derivative of each row's logarithm by each coefficient's."""
    return {
        name: (predict({**logarithms, name: logarithms[name] + _STEP}, table) - base) / _STEP
        for name in NAMES
    }


@dataclass(frozen=True)
class Fit:
    """Terms after a fit. `covariance` is theirs."""

    keys: list[str]
    theta: Floats
    covariance: Floats
    uses: Floats

    @property
    def values(self) -> dict[str, float]:
        return dict(zip(self.keys, map(float, self.theta), strict=True))

    def calibration(self, spreads: dict[str, float]) -> Calibration:
        return Calibration(self.values, spreads, None, self.terms)

    @property
    def terms(self) -> dict[str, TermValue]:
        sds = np.sqrt(np.diag(self.covariance))
        return {
            key: TermValue(
                value=float(value),
                sd=float(sd),
                prior=prior_of(key)[0],
                prior_sd=prior_of(key)[1],
                rows=int(n),
            )
            for key, value, sd, n in zip(self.keys, self.theta, sds, self.uses, strict=True)
        }


def fit(runs: Sequence[Run], start: dict[str, float] | None = None, *, rounds: int = _ROUNDS) -> Fit:
    """The most probable terms given the rows: Gauss-Newton steps, rows reweighted in every round.

    Args:
        runs: scorable rows.
        start: terms to begin from (a fit of nearly the same rows); by default the priors.
        rounds: at most so many steps.
    """
    table, weights = Table.of(runs), row_weights(runs)
    design = Design.of(table)
    measured = np.log(table.measured)
    theta = np.array([(start or {}).get(k, m) for k, m in zip(design.keys, design.mean, strict=True)])
    damping, cost = 1e-3, np.inf
    logs = design.logarithms(theta, table)
    base = predict(logs, table)
    cost = _cost(base - measured, weights, theta, design)
    for _ in range(rounds):
        jacobian = _jacobian(design, table, slopes(logs, table, base))
        error = base - measured
        trust = weights / np.sqrt(1.0 + (error / ROBUST) ** 2) / NOISE**2
        normal = (jacobian.T * trust) @ jacobian + np.diag(design.sd**-2.0)
        gradient = jacobian.T @ (trust * error) + (theta - design.mean) / design.sd**2
        improved = False
        for _ in range(8):
            step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            trial = theta + np.clip(step, -0.7, 0.7)
            trial_logs = design.logarithms(trial, table)
            trial_base = predict(trial_logs, table)
            trial_cost = _cost(trial_base - measured, weights, trial, design)
            if trial_cost < cost:
                improved = True
                break
            damping *= 8.0
        if not improved:
            break
        done = cost - trial_cost < _TOLERANCE * cost
        theta, logs, base, cost, damping = trial, trial_logs, trial_base, trial_cost, damping / 6.0
        if done:
            break
    covariance = np.linalg.inv(normal)
    return Fit(design.keys, theta, covariance, (jacobian != 0).sum(axis=0))


def _cost(error: Floats, weights: Floats, theta: Floats, design: Design) -> float:
    robust = 2.0 * ROBUST**2 * (np.sqrt(1.0 + (error / ROBUST) ** 2) - 1.0)
    prior = (((theta - design.mean) / design.sd) ** 2).sum()
    return float((weights * robust).sum() / NOISE**2 + prior)


def _jacobian(design: Design, table: Table, slope: dict[str, Floats]) -> Floats:
    rows = len(table.measured)
    jacobian = np.zeros((rows, len(design.keys)))
    line = np.arange(rows)
    for f in fields(Coefficients):
        indices = table.systems.gather(design.members[f.name])
        for level in range(indices.shape[1]):
            jacobian[line, indices[:, level]] += slope[f.name]
    return jacobian
