"""Collectives, and traced steps, on 4 virtual devices in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    script = Path(__file__).with_name("devices_child.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_collectives_over_one_to_all_devices(found: dict[str, Any]) -> None:
    rows = found["collectives"]
    kinds = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "permute")
    cases = [(row["kind"], row["devices"], row["bytes_each"]) for row in rows]
    assert cases == [(kind, count, size) for kind in kinds for count in (1, 2, 4) for size in (4096, 65536)]
    shares = {"all-reduce": 1.5, "permute": 1.0}
    for row in rows:
        assert row["seconds"] > 0 and row["reason"] is None
        if row["devices"] == 1:
            assert row["bytes_per_second"] is None
        if row["devices"] == 4:
            sent = shares.get(row["kind"], 0.75) * row["bytes_each"]
            assert row["bytes_per_second"] == pytest.approx(sent / row["seconds"])


def test_collectives_do_what_they_are_called(found: dict[str, Any]) -> None:
    moved = found["moved"]
    assert moved["all-reduce"] == [6.0] * 4
    assert moved["all-gather"] == [0.0, 1.0, 2.0, 3.0] * 4
    assert moved["reduce-scatter"] == [24.0, 28.0, 32.0, 36.0]
    assert moved["all-to-all"] == [float(4 * column + row) for row in range(4) for column in range(4)]
    assert moved["permute"] == [3.0, 0.0, 1.0, 2.0]


def test_a_traced_step_of_several_devices_is_divided_wholly(found: dict[str, Any]) -> None:
    assert len(found["fsdp"]) == 2
    for group in found["fsdp"]:
        parts = group["parts"]
        assert sum(parts.values()) == pytest.approx(group["seconds"])
        assert parts["communication"] > 0 and parts["attention"] > 0
        assert parts.get("unnamed", 0.0) <= 0.1 * group["seconds"]
        # Layers that are gathered again for the backward pass are communication.
        assert parts.get("recomputation", 0.0) < 0.05 * group["seconds"]


def test_a_stage_of_a_pipeline_computes_its_layers_again(found: dict[str, Any]) -> None:
    assert found["computed again"]["data"] == 0
    assert found["computed again"]["pipeline"] > 20
