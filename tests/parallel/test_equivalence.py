"""Whatever the layout, the mathematics are those of a single device: loss, every gradient, router sums.

In float32, from the same initial values, on packed documents. The numbers come from `equivalence.py`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).parent / "layouts.py")
assert _spec and _spec.loader
layouts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(layouts)

LOSS, GRADIENT = 1e-5, 1e-4


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_a_layout_changes_no_number(equivalence: dict[str, dict[str, Any]], name: str) -> None:
    found = equivalence[name]
    assert found["loss"] < LOSS
    assert found["gradient"] < GRADIENT, found["worst"]
    assert found["report"] < GRADIENT


@pytest.mark.parametrize("name", layouts.PLANTED)
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
