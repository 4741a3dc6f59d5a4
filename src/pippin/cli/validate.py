"""`pippin validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pippin.cli.folding import FoldDisplay
from pippin.errors import PippinError
from pippin.plan.calibration import read_calibration, shipped_calibration
from pippin.plan.folds import Holdout
from pippin.plan.reading import read_runs
from pippin.plan.runs import Run
from pippin.plan.validation import Validation, cross_validate, predictions_csv, summary, validate
from pippin.storage import write_atomic


def run(
    path: Path,
    *,
    holdout: Holdout | None,
    both: bool,
    calibration: Path | None,
    predictions: Path | None,
    as_json: bool,
) -> None:
    """Scores and prints a table, or JSON."""
    if both:
        raise PippinError("one way of holding out at a time", where="validate", fix="leave one option out")
    if holdout and calibration:
        raise PippinError(
            "cross-validation fits its own calibrations", where="--calibration", fix="leave one option out"
        )
    result = _validate(read_runs(path), holdout, calibration)
    if predictions:
        write_atomic(predictions, predictions_csv(result))
    found = summary(result)
    print(json.dumps(found, indent=1) if as_json else table(found))


def _validate(runs: list[Run], holdout: Holdout | None, calibration: Path | None) -> Validation:
    if holdout is None:
        return validate(runs, read_calibration(calibration) if calibration else shipped_calibration())
    with FoldDisplay() as display:
        return cross_validate(runs, holdout, display)


def table(found: dict[str, Any]) -> str:
    """The figures in lines that a person reads."""
    lines = [_headline(found), *_account(found), "", _HEADER]
    lines.append(_line("all rows", found | {"rows": found["headline_rows"]}))
    lines.append(_line("mean over sources", found["source_weighted"] | {"rows": len(found["by_source"])}))
    lines.append(_line("with wrong rows", found["with_wrong_rows"]))
    for title, groups in (("source", found["by_source"]), ("chip", found["by_chip"])):
        lines += ["", f"by {title}", *(_line(name, scores) for name, scores in groups.items())]
    means = found["ranking_mean"]
    if means["groups"]:
        lines += [
            "",
            f"order of layouts, {means['groups']} groups of one model, chips and batch: Kendall tau ",
        ]
        lines[-1] += f"{means['tau']:.2f}, the pick is {means['regret']:.1%} slower than the best measured"
    return "\n".join(lines)


_HEADER = f"{'':<44}{'rows':>5}{'median':>8}{'mean':>7}{'p90':>7}{'bias':>7}{'in 80 %':>9}{'baseline':>10}"


def _headline(found: dict[str, Any]) -> str:
    if found["in_sample"]:
        share = f"{found['in_sample_rows']} of {found['headline_rows']} rows"
        return f"IN SAMPLE: the calibration was fitted to {share}. This is no measure of accuracy."
    return {
        "given": "Held out: by their content none of these rows is one that the calibration was fitted to.",
        "cross-validated": "Cross-validated: each source and model family predicted without its rows, and "
        "without its models on its chips.",
        "leave one source out": "Each source predicted without its rows and its models on its chips.",
    }[found["method"]]


def _account(found: dict[str, Any]) -> list[str]:
    tier, wrong = found["tier_a"], sum(found["wrong"].values())
    lines = [
        f"{found['rows']} rows, {found['scored']} predicted; the figures are of {found['headline_rows']}: "
        f"{found['older_releases']} are older releases of one of them, {wrong} are flagged as wrong."
    ]
    if tier["rows"]:
        lines.append(f"Of {tier['rows']} tier A rows {tier['scored']} are predicted.")
    lines += [f"  refused {count:>4}  {reason}" for reason, count in found["refused"].items()]
    return lines + [f"  wrong   {count:>4}  {reason}" for reason, count in found["wrong"].items()]


def _line(name: str, scores: dict[str, Any]) -> str:
    covered = scores["interval_coverage"]
    shown = "" if covered is None else f"{covered:.0%}"
    return (
        f"{name[:43]:<44}{scores['rows']:>5}{scores['median_abs_error']:>8.1%}{scores['mean_abs_error']:>7.1%}"
        f"{scores['p90_abs_error']:>7.1%}{scores['bias']:>+7.1%}{shown:>9}"
        f"{scores['baseline']['median_abs_error']:>10.1%}"
    )
