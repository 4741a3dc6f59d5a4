"""Stages and bubbles against sums made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pippin.plan.pipeline import pipeline_seconds, split_layers


def stages(layers: int, stage: int, interleave: int) -> tuple[float, float, float]:
    found = split_layers(*(np.array([value]) for value in (layers, stage, interleave)))
    return float(found.most[0]), float(found.last[0]), float(found.mean[0])


def test_layers_that_divide_fall_evenly() -> None:
    assert stages(96, 8, 3) == (12, 12, 12)


def test_embedding_and_head_count_as_layers_where_that_divides() -> None:
    # Llama 3.1 405B: 126 layers and two ends on 16 stages of 8.
    assert stages(126, 16, 1) == (8, 7, 126 / 16)


def test_what_does_not_divide_goes_to_the_first_chunks() -> None:
    assert stages(61, 4, 1) == (16, 15, 61 / 4)


def test_one_stage_holds_everything() -> None:
    assert stages(61, 1, 1) == (61, 61, 61)


def seconds(layer: float, head: float, **layout: Any) -> tuple[float, float]:
    parts = SimpleNamespace(**{key: np.array([value]) for key, value in layout.items()})
    work, waiting = pipeline_seconds(
        split_layers(np.array([layout["layers"]]), parts.stage, parts.interleave),
        np.array([layer]),
        np.array([head]),
        parts,  # type: ignore[arg-type]
    )
    return float(work[0]), float(waiting[0])


def test_the_bubble_is_stages_less_one_over_virtual_stages() -> None:
    # 16 micro-batches, 4 stages of 2 layers of a second, 2 virtual stages: 16 x 2, and 3 / 2 x 2 of waiting.
    work, waiting = seconds(1.0, 0.0, layers=8, stage=4, interleave=2, micro_batches=16)
    assert (work, waiting) == pytest.approx((32.0, 3.0))


def test_the_head_slows_the_last_stage() -> None:
    # Mean stage 2.25 s, slowest 3 s: 4 x 0.75 of waiting for it, and a bubble of 3 x 2.25.
    work, waiting = seconds(1.0, 1.0, layers=8, stage=4, interleave=1, micro_batches=4)
    assert (work, waiting) == pytest.approx((9.0, 4 * 0.75 + 3 * 2.25))


def test_without_stages_nobody_waits() -> None:
    assert seconds(1.0, 1.0, layers=8, stage=1, interleave=1, micro_batches=4) == pytest.approx((36.0, 0.0))
