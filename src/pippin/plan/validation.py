"""Scores the planner on measured runs, in sample or held out, beside the baseline."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pippin.errors import PippinError
from pippin.plan.baseline import Baseline
from pippin.plan.calibrate import fit, is_composed
from pippin.plan.calibration import Calibration
from pippin.plan.folds import Fold, Holdout, folds, group_of
from pippin.plan.own import intervals
from pippin.plan.reading import shipped_runs
from pippin.plan.runs import Run, Table, newest_of_each
from pippin.plan.scores import Prediction, ranking, score, score_by, source_weighted
from pippin.plan.spreads import HeldOut, spreads_of
from pippin.plan.steptime import step_time

Method = Literal["given", "cross-validated", "leave one source out"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Validation:
    """Every scorable row with its prediction. `headline` leaves out wrong rows and older releases."""

    method: Method
    runs: list[Run]
    predictions: list[Prediction]
    headline_ids: frozenset[str]
    in_sample_ids: frozenset[str]

    @property
    def headline(self) -> list[Prediction]:
        return [p for p in self.predictions if p.run.id in self.headline_ids]


def headline_runs(runs: Sequence[Run]) -> list[Run]:
    """The rows that a calibration and a headline rest on: scorable, not known to be wrong, newest release."""
    return newest_of_each([run for run in runs if run.refused is None and run.wrong is None])


def validate(runs: Sequence[Run], calibration: Calibration) -> Validation:
    """Scores runs with a calibration as it is.

    Raises:
        PippinError: no row can be scored.
    """
    usable = _usable(runs)
    known = calibration.row_ids
    rows = [run for run in headline_runs(shipped_runs()) if run.id in known]
    baseline = Baseline.fit(rows or headline_runs(shipped_runs()))
    predictions = _predict(usable, calibration, baseline)
    return Validation("given", list(runs), predictions, _ids(headline_runs(runs)), _seen(usable, known))


def _seen(runs: Sequence[Run], known: frozenset[str]) -> frozenset[str]:
    """Ids of the rows that a calibration was fitted to: told by their content where the rows ship, so that
    another name hides none and the same name accuses none; by their id where they do not."""
    shipped = {run.id: run for run in shipped_runs()}
    fitted = {_content(shipped[name]) for name in known if name in shipped}
    elsewhere = known - shipped.keys()
    return frozenset(run.id for run in runs if run.id in elsewhere or _content(run) in fitted)


def _content(run: Run) -> tuple[Any, ...]:
    """What makes two rows one measurement, whatever they are called."""
    layout = tuple(sorted((name, str(value)) for name, value in run.layout.items()))
    return (str(run.shape), run.chip_id, run.precision, layout, round(run.step_seconds, 9))


def cross_validate(
    runs: Sequence[Run], holdout: Holdout = "family", progress: Progress | None = None
) -> Validation:
    """Scores every row with a calibration that saw neither its fold nor its model on its chip.

    Older releases and wrong rows are predicted with their fold's calibration too, but never calibrated on.
    A table of per-layer timings is calibrated beside the published runs, which alone have other chips.
    """
    usable = _usable(runs)
    headline = headline_runs(runs)
    if not headline:
        raise PippinError("every scorable row is flagged as wrong", where="validate")
    others = _others(usable, holdout)
    fitted = fit_folds(headline, holdout, others, progress=progress)
    held = [h for each in fitted for h in each.errors]
    predictions: list[Prediction] = []
    groups = _by_group(usable, holdout)
    for each in fitted:
        # The interval of a fold rests on the errors of the others.
        spreads = spreads_of([h for h in held if h.fold != each.fold.name] or held)
        own = replace(each.calibration, spreads=spreads)
        predictions.extend(_predict(groups[each.fold.name], own, Baseline.fit(each.fold.rest)))
    order = {run.id: i for i, run in enumerate(usable)}
    predictions.sort(key=lambda p: order[p.run.id])
    method: Method = "cross-validated" if holdout == "family" else "leave one source out"
    return Validation(method, list(runs), predictions, _ids(headline), frozenset())


@dataclass(frozen=True)
class FittedFold:
    """A fold, the calibration that did not see it, and how far that was off on its rows."""

    fold: Fold
    calibration: Calibration
    errors: list[HeldOut]


def fit_folds(
    runs: Sequence[Run],
    holdout: Holdout,
    others: Sequence[Run] = (),
    *,
    start: dict[str, float] | None = None,
    progress: Progress | None = None,
) -> list[FittedFold]:
    """One calibration for each fold, begun from that of all rows.

    Raises:
        PippinError: a fold leaves no rows to calibrate on.
    """
    every = list(folds(runs, holdout, others))
    begin = start or fit([*runs, *others]).values
    found = []
    for done, fold in enumerate(every):
        if progress:
            progress(fold.name, done, len(every))
        if not fold.rest:
            raise PippinError("nothing is left to calibrate on", where=fold.name, fix="give more sources")
        calibration = fit(fold.rest, begin).calibration({})
        found.append(FittedFold(fold, calibration, _errors(fold, calibration)))
    return found


def _others(usable: Sequence[Run], holdout: Holdout) -> list[Run]:
    """Shipped published runs, to calibrate beside a table that is one fold or of per-layer timings;
    nothing beside other tables."""
    apart = len({group_of(run, holdout) for run in usable}) > 1
    if apart and not all(is_composed(run) for run in usable):
        return []
    ids = {run.id for run in usable}
    shipped = headline_runs(shipped_runs())
    return [run for run in shipped if run.id not in ids and not is_composed(run)]


def _usable(runs: Sequence[Run]) -> list[Run]:
    usable = [run for run in runs if run.refused is None]
    if not usable:
        reasons = Counter(run.refused for run in runs)
        raise PippinError(
            f"none of {len(runs)} rows can be scored: {reasons.most_common(1)[0][0]}", where="validate"
        )
    return usable


def _ids(runs: Sequence[Run]) -> frozenset[str]:
    return frozenset(run.id for run in runs)


def _by_group(runs: Sequence[Run], holdout: Holdout) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[group_of(run, holdout)].append(run)
    return groups


def _errors(fold: Fold, calibration: Calibration) -> list[HeldOut]:
    table = Table.of(fold.held)
    step = step_time(table.shapes, table.layouts, table.systems, calibration).step_seconds
    errors = np.log(step / table.measured)
    return [
        HeldOut(run, float(error), fold.name, calibration.knows(run.system))
        for run, error in zip(fold.held, errors, strict=True)
        if run.system
    ]


def _predict(runs: Sequence[Run], calibration: Calibration, baseline: Baseline) -> list[Prediction]:
    if not runs:
        return []
    table = Table.of(runs)
    step = step_time(table.shapes, table.layouts, table.systems, calibration).step_seconds
    experts = table.shapes.moe_layers > 0
    low, high = intervals(calibration, step, table.shapes, table.layouts, table.systems, experts)
    naive = baseline.step_seconds(runs)
    columns = zip(runs, step, low, high, naive, strict=True)
    return [Prediction(run, *(float(v) for v in values)) for run, *values in columns]


def summary(validation: Validation) -> dict[str, Any]:
    """The figures as `pippin validate --json` prints them. Errors are relative to the measured seconds."""
    headline = validation.headline
    by_source = score_by(headline, lambda run: run.source)
    refused = Counter(run.refused for run in validation.runs if run.refused)
    wrong = Counter(run.wrong for run in validation.runs if run.wrong and not run.refused)
    scorable = [run for run in validation.runs if not run.refused]
    tier = [run for run in validation.runs if run.tier == "A" and run.task == "pretrain"]
    figures = score(headline)
    figures.pop("rows")
    order = ranking(headline)
    return {
        "method": validation.method,
        "in_sample": bool(validation.in_sample_ids & validation.headline_ids),
        "in_sample_rows": len(validation.in_sample_ids & validation.headline_ids),
        "rows": len(validation.runs),
        "scored": len(scorable),
        "refused": dict(refused.most_common()),
        "headline_rows": len(headline),
        "older_releases": sum(not run.wrong for run in scorable) - len(headline),
        "wrong": dict(wrong.most_common()),
        "tier_a": {"rows": len(tier), "scored": sum(run.refused is None for run in tier)},
        **figures,
        "source_weighted": source_weighted(by_source),
        "with_wrong_rows": score([p for p in validation.predictions if _kept(p, validation)]),
        "by_source": by_source,
        "by_chip": score_by(headline, lambda run: run.chip_id),
        "ranking": order,
        "ranking_mean": _means(order),
    }


def _kept(prediction: Prediction, validation: Validation) -> bool:
    return prediction.run.id in validation.headline_ids or prediction.run.wrong is not None


def _means(order: dict[str, dict[str, float]]) -> dict[str, float | None]:
    def mean(name: str) -> float | None:
        return float(np.mean([group[name] for group in order.values()])) if order else None

    return {"groups": len(order), "tau": mean("tau"), "regret": mean("regret")}


def predictions_csv(validation: Validation) -> str:
    """Every scorable row's prediction; `flag` says why a row is not in the headline."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "measured_step_seconds", "predicted_step_seconds", "low", "high", "flag"])
    for p in validation.predictions:
        flag = p.run.wrong or ("" if p.run.id in validation.headline_ids else "older release")
        numbers = (p.run.step_seconds, p.seconds, p.low, p.high)
        writer.writerow([p.run.id, *(f"{value:.6g}" for value in numbers), flag])
    return text.getvalue()
