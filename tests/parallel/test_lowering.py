"""A sharded step is one module for every target, and stays inside what all of them can run.

Nothing here ran on a GPU, TPU or Trainium: the step is lowered to StableHLO for each, no more.
"""

from __future__ import annotations

from typing import Any

import pytest
from layouts import LOWERED


@pytest.fixture(scope="session")
def lowered(child: Any) -> dict[str, dict[str, Any]]:
    return {found["case"]: found for found in child("lowering.py")}


@pytest.mark.parametrize("name", LOWERED)
def test_one_module_for_all_targets(lowered: dict[str, dict[str, Any]], name: str) -> None:
    found = lowered[name]
    assert set(found["sha256"]) == {"cpu", "cuda", "tpu", "neuron"}
    assert len(set(found["sha256"].values())) == 1
    assert found["findings"] == []
    assert found["collectives"] > 0
