"""Fleets side by side on a terminal, as JSON and as a page."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pippin.cli.fleets import show
from pippin.errors import PippinError
from pippin.plan.fleets import Comparison

_spec = importlib.util.spec_from_file_location(
    "plan_conftest", Path(__file__).parents[1] / "plan/conftest.py"
)
assert _spec is not None and _spec.loader is not None
_made_up = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made_up)
comparison = _made_up.comparison  # the fixture


def test_table(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    show(comparison, as_json=False, html=None, command="pippin plan")
    printed = capsys.readouterr().out
    for words in (
        "rainier_400k",
        "h100_100k",
        "Dollars, capacity block",
        "Goodput, learners apart",
        "trn1_16",
    ):
        assert words in printed, words
    assert max(map(len, printed.splitlines())) <= 110


def test_json_alone_on_standard_output(
    comparison: Comparison, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "plan.html"
    show(comparison, as_json=True, html=path, command="pippin plan")
    assert json.loads(capsys.readouterr().out)["objective"] == "time"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_folder_that_cannot_be(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PippinError, match="choose another path"):
        show(comparison, as_json=False, html=tmp_path / "file" / "where.html", command="pippin plan")
