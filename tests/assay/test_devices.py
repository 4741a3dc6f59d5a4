"""Collectives, and traced steps, on 4 virtual devices in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def told(*arguments: str) -> Any:
    """What the child found."""
    script = Path(__file__).with_name("devices_child.py")
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    every: dict[str, Any] = told()
    return every


def test_collectives_over_one_to_all_devices(found: dict[str, Any]) -> None:
    rows = found["collectives"]
    kinds = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "permute")
    cases = [(row["kind"], row["devices"], row["bytes_each"]) for row in rows]
    assert cases == [(kind, count, 65536) for kind in kinds for count in (1, 2, 4)]
    shares = {"all-reduce": 1.5, "permute": 1.0}
    for row in rows:
        assert row["seconds"] > 0 and row["reason"] is None
        assert row["latency_seconds"] > 0 and row["chained"] == 64
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
        assert "bubble" not in parts
        # Layers that are gathered again for the backward pass are communication.
        assert parts.get("recomputation", 0.0) < 0.05 * group["seconds"]


def test_a_stage_of_a_pipeline_computes_its_layers_again(found: dict[str, Any]) -> None:
    assert found["computed again"]["data"] == 0
    assert found["computed again"]["pipeline"] > 20


def test_the_bubble_is_what_a_pipeline_does_to_fill_and_drain(found: dict[str, Any]) -> None:
    """Of a step's a + b (micro-batches + stages - 1) it is what the stages less one are for: the same however
    many micro-batches there are, and three times as many ticks, of half as many layers, with four stages."""
    two, longer, four = (found["multiplied"][name] for name in ("two stages", "longer", "four stages"))
    assert two["bubble"] == longer["bubble"] > 0
    assert longer["other"] == 2 * two["other"]
    assert 2 * four["bubble"] == 3 * two["bubble"]


@pytest.mark.slow
def test_the_bubble_that_a_trace_shows_is_near_what_the_schedule_says() -> None:
    """Two stages and two micro-batches: a third of the ticks, by a real clock, head and update aside."""
    ticks = ("recomputation", "attention", "product", "norm", "gate", "rotary", "residual", "layers")
    ticks += ("communication",)  # of the head and of the gradients too, so the share is somewhat less
    shares = []
    for group in told("pipeline"):
        within = sum(group["parts"].get(part, 0.0) for part in ticks)
        shares.append(group["parts"]["bubble"] / (group["parts"]["bubble"] + within))
    assert 0.1 < sum(shares) / len(shares) < 0.5, shares


@pytest.mark.slow
def test_what_devices_wait_for_one_that_is_late_is_communication() -> None:
    """By a real clock: one of four sleeps 0.1 s in the attention of both layers, the others wait for it."""
    for group in told("late"):
        slept = 2 * 0.1
        assert group["parts"]["attention"] == pytest.approx(slept / 4, rel=0.25)
        assert group["parts"]["communication"] == pytest.approx(slept * 3 / 4, rel=0.25)
