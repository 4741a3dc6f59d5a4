"""`pippin claims`: a verdict for each, JSON as documented, and a page that is current; all without JAX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def test_every_claim_is_printed_with_its_verdict(here: Callable[..., Any]) -> None:
    outcome = here("claims")
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 100
    words = outcome.out.split()
    assert {f"C{number:02}" for number in range(1, 34)} <= set(words)


def test_json_has_the_documented_keys(here: Callable[..., Any]) -> None:
    document = json.loads(here("claims", "--json").out)
    assert len(document) >= 33
    for claim in document:
        assert {"id", "claim", "verdict", "numbers", "depends_on", "would_flip"} <= claim.keys()
    numbers = next(claim["numbers"] for claim in document if claim["id"] == "C06")
    assert numbers["trn2-ultraserver fp8"]["value"] == pytest.approx(83.136)


def test_one_claim_in_full(here: Callable[..., Any]) -> None:
    out = " ".join(here("claims", "c06").out.split())
    for part in [
        "83.14 petaflop/s",
        "42.69",
        "holds only if: the data type is FP8",
        "would flip it",
        "said by AWS",
    ]:
        assert part in out, part
    assert "C05" not in out


def test_the_users_figures_are_marked(here: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[chips.trn2]\nfp8_tflops = 1400\n")
    (claim,) = json.loads(here("claims", "C06", "--json", "--catalog", path).out)
    assert claim["verdict"] == "does not hold"
    assert claim["catalog_changes"] == ["mine.toml: chips.trn2.fp8_tflops = 1400.0 (was 1299.0)"]
    assert "* mine.toml" in here("claims", "C06", "--catalog", path).out


def test_the_page_is_current(here: Callable[..., Any]) -> None:
    page = (_ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert here("claims", "--markdown").out == page, "run: pippin claims --markdown > docs/claims.md"


def test_an_unknown_claim_is_one_line(here: Callable[..., Any]) -> None:
    outcome = here("claims", "C99")
    assert (outcome.status, outcome.out) == (2, "")
    assert "unknown claim 'C99'" in outcome.err and len(outcome.err.splitlines()) == 1


def test_claims_need_no_jax(without_jax: Callable[..., Any]) -> None:
    result = without_jax("claims")
    assert result.returncode == 0, result.stderr
    assert "holds only if" in result.stdout
