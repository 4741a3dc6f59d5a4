"""The interval of memory: what compiled steps came to beside the count, and where nothing is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.memory_steps import compiled_steps, memory_interval

PAGE = Path(__file__).parents[2] / "docs/projection.md"


def config(name: str = "pippin-3m") -> ModelConfig:
    return ModelConfig(**preset(name) | {"vocab_size": 8192})


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_every_step_seen_is_inside(platform: str) -> None:
    seen = [step for step in compiled_steps() if step.platform == platform]
    assert len(seen) >= 6
    for step in seen:
        found = memory_interval(platform, config(), step.planned_bytes)
        assert found.low is not None and found.high is not None
        assert found.low - 1 <= step.compiled_bytes <= found.high + 1


@given(st.floats(1e6, 1e12))
def test_it_reaches_from_the_least_to_the_most(planned: float) -> None:
    ratios = [step.ratio for step in compiled_steps() if step.platform == "cpu"]
    found = memory_interval("cpu", config(), planned)
    assert (found.low, found.high) == (round(min(ratios) * planned), round(max(ratios) * planned))
    assert f"{len(ratios)} compiled steps" in found.basis
    assert f"{len(ratios) - 1} times out of {len(ratios) + 1}" in found.basis


def test_what_nobody_compiled_has_none_and_the_reason() -> None:
    for platform in ("cuda", "neuron"):
        found = memory_interval(platform, config(), 1e9)
        assert (found.low, found.high) == (None, None) and f"compiled for {platform}" in found.basis
    large = memory_interval("cpu", config("pippin-1b"), 1e10)
    assert (large.low, large.high) == (None, None) and "above 107 M parameters" in large.basis


def test_the_page_has_every_step() -> None:
    rows = re.findall(r"^\| `((?:cpu|tpu)-[^`]+)` \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == [step.id for step in compiled_steps()]
    for (_, cells), step in zip(rows, compiled_steps(), strict=True):
        compiled, planned, ratio = (cell.strip() for cell in cells.split("|")[-3:])
        assert compiled == f"{step.compiled_bytes / 1e6:,.1f} MB", step.id
        assert planned == f"{step.planned_bytes / 1e6:,.1f} MB", step.id
        assert ratio == f"{step.ratio:.2f}", step.id


def test_other_pages_say_how_far_the_count_was_off() -> None:
    for platform, pages in {"tpu": ["plan.md", "check.md"], "cpu": ["plan.md"]}.items():
        off = [100 * (1 / step.ratio - 1) for step in compiled_steps() if step.platform == platform]
        span = f"{min(off):+.0f} to {max(off):+.0f} % off"
        for page in pages:
            assert span in PAGE.with_name(page).read_text(encoding="utf-8"), (page, span)
