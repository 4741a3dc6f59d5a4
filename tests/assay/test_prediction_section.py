"""The prediction beside what was measured: a memory without an interval has its reason under every null."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pippin.assay.findings import Unknown
from pippin.assay.foresight import _content, prediction_section
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.at_hand import AtHand
from pippin.plan.calibration import shipped_calibration
from pippin.plan.foresight import foresee
from pippin.plan.memory_steps import compiled_steps
from pippin.report.prediction import Prediction
from pippin.report.schema import null_paths

SPANS = [
    {"category": "step", "name": "step", "step": step, "start": 0.1 * step, "end": 0.1 * step + 0.1}
    | {"tokens": [512 * step - 512, 512 * step]}
    for step in range(1, 21)
]


def section(platform: str) -> tuple[dict[str, Any], Unknown]:
    config = ModelConfig(**preset("pippin-3m") | {"vocab_size": 8192})
    machine = AtHand(
        "a chip", platform, None, "chip", 1, 2, 2**34, "float32", "reference", "none", 2e11, 2e10
    )
    predicted = {"made": "2026-08-14T13:02:51Z", "job_hash": "0" * 64}
    predicted |= _content(foresee(config, 4, 128, machine, shipped_calibration()))
    found: Any = SimpleNamespace(predicted=predicted, step_memory=(103_665_177, "allotted"), spans=SPANS)
    unknown = Unknown()
    said = prediction_section(found, unknown)
    assert said is not None
    Prediction.model_validate(said)
    assert {f"prediction.{path}" for path in null_paths(said)} == set(unknown)
    return said, unknown


def test_on_a_cpu_the_memory_has_an_interval_and_what_it_is_of() -> None:
    said, unknown = section("cpu")
    assert said["memory_bytes_low"] < said["memory_bytes"] < said["memory_bytes_high"]
    seen = sum(step.platform == "cpu" for step in compiled_steps())
    assert f"{seen} compiled steps" in said["memory_interval"]
    assert not any("memory" in path for path in unknown)
    assert "its width is assumed, a factor of 1.65 each way" in said["interval"]
    assert said["step_seconds_high"] / said["step_seconds"] == pytest.approx(1.65, rel=0.01)


def test_where_nothing_was_compiled_the_ends_are_null_with_the_reason() -> None:
    said, unknown = section("cuda")
    assert said["memory_bytes_low"] is None and said["memory_bytes_high"] is None
    for end in ("low", "high"):
        assert unknown[f"prediction.memory_bytes_{end}"] == said["memory_interval"]
    assert "compiled for cuda" in said["memory_interval"]
