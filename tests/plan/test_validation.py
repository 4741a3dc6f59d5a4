"""Scores, folds and calibrations: nothing leaks, and what ships is what the shipped rows give."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.plan.baseline import Baseline, achieved_flops
from pippin.plan.calibrate import fit
from pippin.plan.calibration import Calibration, parse_calibration, shipped_calibration
from pippin.plan.coefficients import NAMES, PRIORS
from pippin.plan.folds import folds, group_of, model_key
from pippin.plan.publish import make_calibration
from pippin.plan.reading import shipped_runs
from pippin.plan.runs import Run, Table
from pippin.plan.scores import kendall_tau
from pippin.plan.spreads import HeldOut, spreads_of
from pippin.plan.steptime import step_time
from pippin.plan.system import System
from pippin.plan.validation import cross_validate, headline_runs, predictions_csv, summary, validate

FIGURES = {"median_abs_error", "p90_abs_error", "mean_abs_error", "bias", "interval_coverage"}
KEYS = {"in_sample", "rows", "scored", "refused", "baseline", "by_source", "by_chip", "ranking"} | FIGURES


@pytest.fixture(scope="module")
def rows() -> list[Run]:
    """Published rows of three small sources, which a test can fit in a moment."""
    wanted = ("Korthikanti", "MaxText v4", "AWS Neuron", "Levanter", "tpu-recipes v5p")
    return [run for run in shipped_runs() if run.source.startswith(wanted)]


def test_no_fold_sees_its_rows_its_models_on_its_chips_or_its_source() -> None:
    published = [r for r in headline_runs(shipped_runs()) if not r.id.startswith("vtrain")]
    for holdout in ("family", "source", "chip"):
        held_ids: list[str] = []
        for fold in folds(published, holdout):
            held_ids += [run.id for run in fold.held]
            assert not {run.id for run in fold.held} & {run.id for run in fold.rest}
            assert not {model_key(r) for r in fold.held} & {model_key(r) for r in fold.rest}
            assert not {group_of(r, holdout) for r in fold.held} & {group_of(r, holdout) for r in fold.rest}
        assert sorted(held_ids) == sorted(run.id for run in published)


def test_a_fold_s_prediction_does_not_depend_on_its_own_measurements(rows: list[Run]) -> None:
    before = cross_validate(rows)
    fold = group_of(before.headline[0].run, "family")
    moved = [
        replace(r, step_seconds=3 * r.step_seconds)
        if r.refused is None and group_of(r, "family") == fold
        else r
        for r in rows
    ]
    after = cross_validate(moved)
    for a, b in zip(before.headline, after.headline, strict=True):
        if group_of(a.run, "family") == fold:
            # The starting point differs, so the fits agree to their tolerance only.
            assert a.seconds == pytest.approx(b.seconds, rel=0.01)
            assert a.baseline_seconds == b.baseline_seconds


def test_one_width_of_the_sweep_is_one_fold() -> None:
    sweep = [run for run in shipped_runs() if run.id.startswith("vtrain")]
    assert {group_of(run, "family").split(" | ")[1] for run in sweep} == {"width 1024", "width 2048"}


def test_a_table_of_one_source_is_calibrated_on_what_ships(rows: list[Run]) -> None:
    own = [replace(r, id=f"own-{r.id}", source="mine") for r in rows if r.source.startswith("Korthikanti")]
    found = summary(cross_validate(own))
    assert found["headline_rows"] == 8 and found["median_abs_error"] < 0.2


def test_the_interface_has_its_keys(rows: list[Run]) -> None:
    found = summary(cross_validate(rows))
    assert set(found) >= KEYS
    assert not found["in_sample"]
    assert set(found["baseline"]) == FIGURES
    assert found["rows"] == len(rows) == found["scored"] + sum(found["refused"].values())
    assert all(set(group) >= {"tau", "regret"} for group in found["ranking"].values())
    for group in (*found["by_source"].values(), *found["by_chip"].values()):
        assert set(group) >= FIGURES | {"baseline"}
    json.dumps(found, allow_nan=False)


def test_shipped_rows_say_in_sample(rows: list[Run]) -> None:
    assert summary(validate(rows, shipped_calibration()))["in_sample"] is True


def test_another_name_hides_no_row_and_the_same_name_accuses_none(rows: list[Run]) -> None:
    renamed = validate([replace(run, id=f"x-{run.id}") for run in rows], shipped_calibration())
    assert len(renamed.in_sample_ids) == len(validate(rows, shipped_calibration()).in_sample_ids) > 0
    slower = validate(
        [replace(run, step_seconds=2 * run.step_seconds) for run in rows], shipped_calibration()
    )
    assert not slower.in_sample_ids


def test_predictions_have_a_line_for_every_scorable_row(rows: list[Run]) -> None:
    lines = predictions_csv(validate(rows, shipped_calibration())).splitlines()
    assert lines[0].startswith("id,measured_step_seconds,predicted_step_seconds,low,high")
    assert len(lines) - 1 == sum(run.refused is None for run in rows)
    for line in lines[1:]:
        _, measured, predicted, low, high = line.split(",")[:5]
        assert float(low) < float(predicted) < float(high) and float(measured) > 0


def test_the_shipped_calibration_is_that_of_the_shipped_rows() -> None:
    shipped = shipped_calibration()
    rows = headline_runs(shipped_runs())
    assert shipped.row_ids == {run.id for run in rows}
    assert shipped.terms is not None
    assert {key.partition("@")[0] for key in shipped.terms} == set(NAMES) == set(PRIORS)
    # Begun from where it ended, a fit stays there: nobody changed the formulas and left the file behind.
    again = fit(rows, shipped.values, rounds=2)
    table = Table.of(rows)
    before = step_time(table.shapes, table.layouts, table.systems, shipped).step_seconds
    after = step_time(table.shapes, table.layouts, table.systems, again.calibration({})).step_seconds
    assert np.abs(np.log(after / before)).max() < 0.03
    assert np.median(np.abs(np.log(before / table.measured))) < 0.08


def test_a_calibration_survives_its_file(rows: list[Run]) -> None:
    file = make_calibration(rows, spreads={"all": 0.2})
    read = parse_calibration(file.model_dump_json(), "test")
    assert read.values == {key: term.value for key, term in file.terms.items()}
    assert read.provenance is not None and read.provenance.rows == len(headline_runs(rows))


def test_a_fit_recovers_a_coefficient_from_rows_made_with_it(rows: list[Run]) -> None:
    usable = headline_runs(rows)
    table = Table.of(usable)
    truth = Calibration({"matrix": math.log(0.7)}, {})
    made = step_time(table.shapes, table.layouts, table.systems, truth).step_seconds
    fitted = fit([replace(r, step_seconds=float(s)) for r, s in zip(usable, made, strict=True)])
    found = step_time(table.shapes, table.layouts, table.systems, fitted.calibration({})).step_seconds
    assert np.abs(np.log(found / made)).max() < 0.05


def test_an_unknown_chip_gets_its_family_s_values_and_a_wider_interval() -> None:
    shipped = shipped_calibration()
    known, unknown = System.of("h100_sxm"), System.of("h200_sxm")
    assert (shipped.knows(known), shipped.knows(unknown)) == ("pair", "nothing")
    assert shipped.spread(unknown, False) > shipped.spread(known, False)
    a, b = (shipped.coefficients(system) for system in (known, unknown))
    assert a.attention == b.attention and a.scale != b.scale


def test_spreads_hold_their_share_of_the_rows(rows: list[Run]) -> None:
    usable = headline_runs(rows)
    errors = np.random.default_rng(0).normal(0, 0.1, len(usable))
    held = [HeldOut(run, float(e), "f", "pair") for run, e in zip(usable, errors, strict=True)]
    assert spreads_of(held)["all"] == pytest.approx(0.128, abs=0.05)


def test_the_baseline_is_the_median_rate(rows: list[Run]) -> None:
    usable = [r for r in headline_runs(rows) if r.chip_id == "tpu_v4"]
    rate = np.median([achieved_flops(run) for run in usable])
    seconds = Baseline.fit(usable).step_seconds(usable)
    rates = [achieved_flops(replace(r, step_seconds=float(s))) for r, s in zip(usable, seconds, strict=True)]
    assert rates == pytest.approx([rate] * len(usable))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9))
@settings(deadline=None)
def test_kendall_tau_is_a_count_of_pairs(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side, float) for side in zip(*pairs, strict=True))
    agree = sum(np.sign((x[0] - y[0]) * (x[1] - y[1])) for x, y in combinations(pairs, 2))
    untied: list[Any] = [sum(x[side] != y[side] for x, y in combinations(pairs, 2)) for side in (0, 1)]
    expected = agree / math.sqrt(untied[0] * untied[1]) if all(untied) else 1.0
    assert kendall_tau(a, b) == pytest.approx(expected)


@pytest.mark.slow
def test_held_out_accuracy_is_what_the_documentation_promises() -> None:
    published = [run for run in shipped_runs() if not run.id.startswith("vtrain")]
    found = summary(cross_validate(published))
    assert found["median_abs_error"] <= 0.09
    assert found["mean_abs_error"] <= 0.13
    assert found["p90_abs_error"] <= 0.26
    assert 0.7 <= found["interval_coverage"] <= 0.9
    for name, scores in found["by_source"].items():
        if scores["rows"] >= 10 and "Neuron" not in name:
            assert scores["median_abs_error"] < scores["baseline"]["median_abs_error"], name
    apart = summary(cross_validate(published, "source"))
    assert apart["source_weighted"]["median_abs_error"] <= 0.18


@pytest.mark.slow
def test_the_sweep_is_ranked_without_its_width() -> None:
    found = summary(cross_validate([run for run in shipped_runs() if run.id.startswith("vtrain")]))
    assert found["mean_abs_error"] <= 0.12
    assert found["ranking_mean"]["groups"] == 144
    assert found["ranking_mean"]["regret"] <= 0.07 and found["ranking_mean"]["tau"] >= 0.8
