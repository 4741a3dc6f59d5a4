"""Whatever the layout, the mathematics are those of a single device: loss, every gradient, router sums.

In float32, from the same initial values, on packed documents. The numbers come from `equivalence.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from layouts import LAYOUTS, PLANTED

LOSS, GRADIENT = 1e-5, 1e-4


@pytest.fixture(scope="session")
def equivalence(child: Any) -> dict[str, dict[str, Any]]:
    """How far every layout is from a single device, and every planted error; by name."""
    return {found["case"]: found for found in child("equivalence.py")}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_changes_no_number(equivalence: dict[str, dict[str, Any]], name: str) -> None:
    found = equivalence[name]
    assert found["loss"] < LOSS
    assert found["gradient"] < GRADIENT, found["worst"]
    assert found["report"] < GRADIENT


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_caught(equivalence: dict[str, dict[str, Any]], name: str) -> None:
    found = equivalence[name]
    if "refused" in found:
        assert "replication" in found["refused"]
    else:
        assert found["loss"] > 100 * LOSS or found["gradient"] > 100 * GRADIENT


def test_both_ways_of_catching_are_seen(equivalence: dict[str, dict[str, Any]]) -> None:
    """Sums that are left out are refused by their types; those that are wrong have to be measured."""
    assert "refused" in equivalence["unreduced gradients"]
    assert "gradient" in equivalence["missing all-reduce"]
