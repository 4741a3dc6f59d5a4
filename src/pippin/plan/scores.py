"""How far predictions are from measurements: figures over rows, over sources, and of the order of layouts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.plan.layout import Floats
from pippin.plan.runs import Run

FIGURES = ("median_abs_error", "p90_abs_error", "mean_abs_error", "bias", "interval_coverage")


@dataclass(frozen=True)
class Prediction:
    """A run with what was predicted for it, and by the baseline. Seconds."""

    run: Run
    seconds: float
    low: float
    high: float
    baseline_seconds: float

    @property
    def error(self) -> float:
        """Relative error of the step time."""
        return self.seconds / self.run.step_seconds - 1.0

    @property
    def baseline_error(self) -> float:
        return self.baseline_seconds / self.run.step_seconds - 1.0

    @property
    def covered(self) -> bool:
        return self.low <= self.run.step_seconds <= self.high


def figures(errors: Floats, covered: Floats | None) -> dict[str, float | None]:
    """The five figures. `bias` is the median signed error; coverage is None where there is no interval."""
    sizes = np.abs(errors)
    return {
        "median_abs_error": float(np.median(sizes)),
        "p90_abs_error": float(np.quantile(sizes, 0.9)),
        "mean_abs_error": float(np.mean(sizes)),
        "bias": float(np.median(errors)),
        "interval_coverage": None if covered is None else float(np.mean(covered)),
    }


def score(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Figures of the planner and of the baseline over rows."""
    errors = np.array([p.error for p in predictions])
    covered = np.array([p.covered for p in predictions])
    baseline = np.array([p.baseline_error for p in predictions])
    return {"rows": len(predictions), **figures(errors, covered), "baseline": figures(baseline, None)}


def score_by(predictions: Sequence[Prediction], key: Callable[[Run], str]) -> dict[str, dict[str, Any]]:
    """`score` of each group of rows, in order of appearance."""
    groups: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        groups[key(prediction.run)].append(prediction)
    return {name: score(group) for name, group in groups.items()}


def source_weighted(by_source: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mean over sources of each of their figures, so that no source counts more for having more rows."""

    def mean(name: str, pick: Callable[[dict[str, Any]], Any]) -> float | None:
        values = [pick(scores)[name] for scores in by_source.values()]
        return None if any(v is None for v in values) or not values else float(np.mean(values))

    return {
        **{name: mean(name, lambda s: s) for name in FIGURES},
        "baseline": {name: mean(name, lambda s: s["baseline"]) for name in FIGURES},
    }


def ranking(predictions: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """Of each group of layouts of one model, chip count and batch: does the planner put them in order?

    `tau` is Kendall's tau-b; `regret` how much slower than the best measured the planner's pick really is.
    """
    groups: dict[str, list[Prediction]] = defaultdict(list)
    for p in predictions:
        c = p.run.cells
        parts = (p.run.source, p.run.model, f"{c['n_chips']} x {p.run.chip_id}", p.run.precision)
        groups[" | ".join((*parts, f"batch {c['gbs']} x {c['seq']}"))].append(p)
    found: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        measured = np.array([p.run.step_seconds for p in group])
        predicted = np.array([p.seconds for p in group])
        if len({tuple(sorted(p.run.layout.items())) for p in group}) < 2:
            continue
        picked = float(measured[int(predicted.argmin())] / measured.min() - 1.0)
        found[name] = {"tau": kendall_tau(measured, predicted), "regret": picked, "layouts": len(group)}
    return found


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b of two lists (Kendall, Biometrika 33, 1945); 1.0 where one of them is all ties."""
    upper = np.triu_indices(len(a), 1)
    signs_a = np.sign(a[:, None] - a[None, :])[upper]
    signs_b = np.sign(b[:, None] - b[None, :])[upper]
    norm = np.sqrt((signs_a**2).sum() * (signs_b**2).sum())
    return float((signs_a * signs_b).sum() / norm) if norm else 1.0
