"""Collectives, and a step without them, on 4 virtual devices in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pippin.assay import ablations


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


def test_the_step_without_communication_is_the_step_of_each_device(found: dict[str, Any]) -> None:
    fsdp = found["fsdp"]
    assert fsdp["talks"] == {
        ablations.AS_RUN: True,
        ablations.ALONE: False,
        ablations.NO_ATTENTION: False,
        ablations.NO_VOCABULARY: False,
    }
    assert fsdp["missing"] == {}
    assert fsdp["apart"] < 1e-5


def test_where_more_than_the_batch_is_split_it_cannot_be_had(found: dict[str, Any]) -> None:
    tensor = found["tensor"]
    assert tensor["missing"] == {ablations.ALONE: "the layout splits tensor, not the batch alone"}
    assert list(tensor["talks"]) == [ablations.AS_RUN, ablations.NO_ATTENTION, ablations.NO_VOCABULARY]
