"""`pippin compare`, as a user meets it: words, JSON, a page, one line for what cannot be; all without JAX."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.report.schema import Report

MADE_UP = Path(__file__).parents[1] / "report" / "conftest.py"


@pytest.fixture
def reports(tmp_path: Path) -> dict[str, str]:
    """Two reports of one machine, one of a machine a fifth faster, one of another model."""
    spec = importlib.util.spec_from_file_location("made_up_reports", MADE_UP)
    assert spec and spec.loader
    made_up = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made_up)
    made = {}
    for name, seed, factor in (("a", 1, 1.0), ("same", 2, 1.0), ("faster", 3, 1.2), ("other", 4, 1.0)):
        values = made_up.known_values()
        values["seed"] = seed
        for index, window in enumerate(values["speed"]["windows"]):
            window["seconds"] *= (1 + 0.01 * ((7 * index + seed) % 5)) / factor
        if name == "other":
            values["workload"]["num_layers"] = 99
        made[name] = str(tmp_path / f"{name}.json")
        Path(made[name]).write_text(Report.model_validate(values).to_json())
    return made


def test_it_answers_where_jax_cannot_be_imported(
    reports: dict[str, str], without_jax: Callable[..., Any], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    result = without_jax("compare", reports["a"], reports["faster"], "--json", "--out", page)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["comparable"] and found["reasons"] == []
    speed = found["ratios"]["tokens_per_second"]
    assert 1 < speed["low"] < speed["ratio"] < speed["high"]
    assert speed["ratio"] == pytest.approx(1.2, rel=0.02)
    assert "<svg" in page.read_text()


def test_equal_machines_in_words(here: Callable[..., Any], reports: dict[str, str]) -> None:
    outcome = here("compare", reports["a"], reports["same"])
    assert (outcome.status, outcome.err) == (0, "")
    assert "no difference can be told" in outcome.out
    assert "tokens per dollar (spot)" in outcome.out
    assert "one run a side" in outcome.out
    assert "seed: 1 | 2" in outcome.out


def test_several_reports_a_side(here: Callable[..., Any], reports: dict[str, str]) -> None:
    outcome = here("compare", f"{reports['a']},{reports['same']}", reports["faster"], "--json")
    found = json.loads(outcome.out)
    assert (found["a"]["runs"], found["b"]["runs"]) == (2, 1)


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_not_comparable_ends_with_2_and_one_line(
    here: Callable[..., Any], reports: dict[str, str], tmp_path: Path, as_json: bool
) -> None:
    page = tmp_path / "page.html"
    options = ["--json"] if as_json else []
    outcome = here("compare", reports["a"], reports["other"], "--out", page, *options)
    assert outcome.status == 2
    assert outcome.err.startswith("pippin: not comparable: another layers: A has 6, B has 99")
    assert len(outcome.err.splitlines()) == 1
    assert not page.exists()
    if as_json:
        found = json.loads(outcome.out)
        assert (found["comparable"], found["ratios"]) == (False, {}) and found["reasons"]
    else:
        assert outcome.out == ""


def test_a_side_that_is_not_there_is_one_line(here: Callable[..., Any], reports: dict[str, str]) -> None:
    outcome = here("compare", reports["a"], "nowhere")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == "pippin: nowhere: no such file or folder, for B (check the path)\n"
