"""The JSON of a comparison says what its page says, in numbers."""

from __future__ import annotations

import json

import pytest

from pippin.plan.fleets import Comparison
from pippin.plan.fleets_json import comparison_json


def test_it_is_json_with_intervals(comparison: Comparison) -> None:
    found = comparison_json(comparison)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [fleet["fleet"] for fleet in found["fleets"]] == ["rainier_400k", "h100_100k"]
    for fleet in found["fleets"]:
        for key in ("train_seconds", "usd", "usd_per_million_tokens", "mfu", "effective_tokens_per_second"):
            low, high = fleet[f"{key}_interval"]
            assert low <= fleet[key] <= high, key
        assert "capacity block" in fleet["usd_basis"]
        assert fleet["chips"]["given"] == fleet["chips"]["used"] + fleet["chips"]["idle"] + (
            fleet["chips"]["spare"] if fleet["chips"]["idle"] else 0
        )
    assert found["refused"] == {"trn1_16": "the model needs 4.1 TiB more than its memory"}
    assert found["global_batch"]["tokens"] == 2048 * 8192


def test_the_numbers_agree_with_each_other(comparison: Comparison) -> None:
    for fleet in comparison_json(comparison)["fleets"]:
        rate = fleet["tokens_per_second"] * fleet["goodput"]["value"]
        assert fleet["effective_tokens_per_second"] == pytest.approx(rate)
        assert fleet["train_seconds"] == pytest.approx(15.6e12 / rate)
        assert fleet["usd"] == pytest.approx(fleet["usd_per_million_tokens"] * 15.6e6)
        assert fleet["scaling"][0]["asynchronous"][1]["learners"] == 64
        assert fleet["front"][0]["usd"] >= fleet["front"][-1]["usd"]


def test_unknowns_have_reasons(bare_comparison: Comparison) -> None:
    found = comparison_json(bare_comparison)
    (fleet,) = found["fleets"]
    assert found["price_kind"] is None and fleet["usd"] is None and fleet["front"] == []
    assert set(fleet["unknown"]) == {"mfu", "usd", "joules", "facility_joules"}
    assert all(fleet["unknown"].values())
