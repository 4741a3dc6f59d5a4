"""`pippin validate` and `pippin calibrate`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PUBLISHED = Path(__file__).parents[2] / "src/pippin/plan/data/published.csv"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three small sources of the shipped table, and a row that cannot be scored."""
    with PUBLISHED.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        rows = [r for r in reader if r["source"].startswith(("Korthikanti", "MaxText v4", "tpu-recipes v5p"))]
        header = reader.fieldnames or ()
    path = tmp_path / "runs.csv"
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, header)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_validate_prints_a_table_and_says_in_sample(here: Callable[..., Any], runs: Path) -> None:
    outcome = here("validate", runs)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("IN SAMPLE")
    for word in ("median", "baseline", "by source", "by chip", "refused", "wrong", "Korthikanti", "tpu_v4"):
        assert word in outcome.out


def test_cross_validation_prints_json_and_writes_predictions(
    here: Callable[..., Any], runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    outcome = here("validate", runs, "--cross-validate", "--json", "--predictions", out)
    found = json.loads(outcome.out)
    assert found["in_sample"] is False and found["method"] == "cross-validated"
    with out.open() as text:
        lines = list(csv.DictReader(text))
    assert len(lines) == found["scored"]
    assert any(line["flag"] for line in lines) == bool(found["wrong"])


def test_a_calibration_of_one_s_own_is_used(here: Callable[..., Any], runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    made = here("calibrate", runs, "--out", file)
    assert made.status == 0, made.err
    assert str(file) in made.out
    found = json.loads(here("validate", runs, "--calibration", file, "--json").out)
    assert found["in_sample"] is True and found["in_sample_rows"] == found["headline_rows"]
    assert found["median_abs_error"] < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cross-validate", "--leave-one-source-out"), "one way of holding out"),
        (("--cross-validate", "--calibration", "x.json"), "fits its own"),
        (("--calibration", "absent.json"), "absent.json"),
    ],
)
def test_wrong_options_are_one_line(
    here: Callable[..., Any], runs: Path, arguments: tuple[str, ...], message: str
) -> None:
    outcome = here("validate", runs, *arguments)
    assert outcome.status == 2
    assert message in outcome.err and outcome.err.count("\n") == 1


def test_a_malformed_row_is_refused_with_the_reason_and_the_others_are_scored(
    here: Callable[..., Any], runs: Path
) -> None:
    runs.write_text(runs.read_text().replace(",2048,", ",two thousand,", 1))
    found = here("validate", runs)
    assert found.status == 0 and "'two thousand' is not a" in found.out


def test_malformed_files_are_one_line(here: Callable[..., Any], runs: Path, tmp_path: Path) -> None:
    absent = here("validate", tmp_path / "absent.csv")
    assert absent.status == 2 and absent.err.count("\n") == 1
    other = tmp_path / "other.json"
    other.write_text("{}")
    wrong = here("validate", runs, "--calibration", other)
    assert wrong.status == 2 and wrong.err.count("\n") == 1
