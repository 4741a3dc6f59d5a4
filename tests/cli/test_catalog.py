"""`pippin catalog`: tables that fit a page, JSON with everything, one line for a mistake; all without JAX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("what", ["chips", "instances", "prices", "fleets", "clusters"])
def test_a_table_fits_a_page_and_its_json_has_every_row(here: Callable[..., Any], what: str) -> None:
    text = here("catalog", "list", what)
    assert text.status == 0
    assert max(map(len, text.out.splitlines())) <= 100
    document = json.loads(here("catalog", "list", what, "--json").out)
    assert document.keys() == {what, "catalog_changes"}
    ids = [row.get(f"{what.removesuffix('s')}_id") or row["instance_id"] for row in document[what]]
    assert len(ids) > 20
    words = set(text.out.split())
    assert set(ids) <= words


def test_a_chip_is_shown_with_sources_and_contradictions(here: Callable[..., Any]) -> None:
    out = " ".join(here("catalog", "show", "TRN2").out.split())
    for part in [
        "chip trn2: Trainium2",
        "fleet trn2",
        "1,299",
        "AWS Neuron docs",
        "1264 / 632",
        "2.235 capacity",
    ]:
        assert part in out, part


def test_a_price_is_shown_with_kind_region_date_and_source(here: Callable[..., Any]) -> None:
    out = " ".join(here("catalog", "show", "trn2.48xlarge").out.split())
    for part in [
        "35.761 capacity block",
        "2026-10-09",
        "unknown on demand",
        "do not use",
        "AWS publishes no",
    ]:
        assert part in out, part


def test_the_json_of_an_instance_has_its_prices(here: Callable[..., Any]) -> None:
    document = json.loads(here("catalog", "show", "trn2.48xlarge", "--json").out)
    assert document["instance"]["chips"] == 16
    assert len(document["instance"]["prices"]) == 6
    unknown = document["instance"]["prices"][0]
    assert unknown["usd_per_hour"] is None and unknown["why_unknown"]


def test_what_the_user_set_is_marked_in_every_output(here: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[chips.trn2]\npower_watts = 480\n")
    change = "mine.toml: chips.trn2.power_watts = 480.0 (was 500.0)"
    for words in (["list", "chips"], ["show", "trn2"]):
        out = here("catalog", *words, "--catalog", path).out
        assert "trn2 *" in out and f"* {change}" in out
    document = json.loads(here("catalog", "show", "trn2", "--json", "--catalog", path).out)
    assert document["catalog_changes"] == [change]
    assert document["chip"]["users_fields"] == ["power_watts"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "trn22"], "nothing in the catalog is called 'trn22' (did you mean 'trn2'?"),
        (["list", "fleetz"], "the catalog has no table 'fleetz' (did you mean 'fleets'?)"),
        (["list", "--catalog", "nowhere.toml"], "nowhere.toml: no such file or folder"),
    ],
)
def test_a_mistake_is_one_line(here: Callable[..., Any], words: list[str], message: str) -> None:
    outcome = here("catalog", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err and len(outcome.err.splitlines()) == 1


def test_the_catalog_is_shown_without_jax(without_jax: Callable[..., Any]) -> None:
    result = without_jax("catalog", "show", "rainier-400k")
    assert result.returncode == 0, result.stderr
    assert "266.8" in result.stdout
