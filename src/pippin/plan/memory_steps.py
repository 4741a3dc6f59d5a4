"""The interval of our own trainer's memory: steps that were compiled, set beside what the planner counts.

`data/memory_steps.csv` has them: bytes of one device at a step's peak, as the compiler gives them. Nothing
was fitted to these rows. The interval of a step for the same kind of compiler reaches from the least to the
most that they came to, over what was counted: were the next step like n others, it would be inside with a
probability of (n - 1) / (n + 1). Models larger than any of them get none, nor do other compilers.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from pippin.job import MeshTable
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.counts import num_parameters
from pippin.plan.framework import trainer
from pippin.plan.memory import memory
from pippin.plan.mesh import mesh_layout, state_neighbours
from pippin.plan.shape import Shapes

_DEGREES = ("data", "fsdp", "expert", "stage", "context", "tensor")


@dataclass(frozen=True)
class CompiledStep:
    """A step as a compiler arranged it: bytes of one device, beside those that the planner counts."""

    id: str
    compiler: str
    platform: str
    parameters: int
    compiled_bytes: float
    planned_bytes: float

    @property
    def ratio(self) -> float:
        return self.compiled_bytes / self.planned_bytes


@dataclass(frozen=True)
class MemoryInterval:
    """Ends in bytes, both None where nothing is known; `basis` says what they mean, or why there are none."""

    low: int | None
    high: int | None
    basis: str

    @property
    def fields(self) -> dict[str, int | str | None]:
        """As the sections of a report have it."""
        return {
            "memory_bytes_low": self.low,
            "memory_bytes_high": self.high,
            "memory_interval": self.basis,
        }


@cache
def compiled_steps() -> tuple[CompiledStep, ...]:
    """The steps that ship with the package."""
    return tuple(_step(row) for row in step_rows())


def step_rows() -> list[dict[str, str]]:
    """The same as the table has them: what was compiled, and what came out."""
    text = files("pippin.plan").joinpath("data", "memory_steps.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def memory_interval(platform: str, config: ModelConfig, planned_bytes: float) -> MemoryInterval:
    """The interval of what the planner counts for our own trainer.

    Args:
        platform: what the step is compiled for, by JAX's name.
        config: the model.
        planned_bytes: of one device.
    """
    steps = [step for step in compiled_steps() if step.platform == platform]
    if not steps:
        return MemoryInterval(None, None, f"no step compiled for {platform} was set beside the count")
    largest = max(step.parameters for step in steps)
    if num_parameters(config) > largest:
        words = (
            f"no step of a model above {largest / 1e6:,.0f} M parameters, compiled for {platform}, was set"
        )
        return MemoryInterval(None, None, f"{words} beside the count")
    ratios = [step.ratio for step in steps]
    compilers = ", ".join(dict.fromkeys(step.compiler for step in steps))
    count, low, high = len(steps), min(ratios), max(ratios)
    basis = (
        f"from {low:.2f} to {high:.2f} times the count, the least and the most of {count} compiled steps of "
        f"up to {largest / 1e6:,.0f} M parameters ({compilers}); one more like them would be inside "
        f"{count - 1} times out of {count + 1}"
    )
    return MemoryInterval(round(low * planned_bytes), round(high * planned_bytes), basis)


def _step(row: dict[str, str]) -> CompiledStep:
    heads = {name: int(row[name]) for name in ("num_heads", "num_kv_heads") if row[name]}
    config = ModelConfig(**preset(row["preset"]) | heads | {"vocab_size": int(row["vocab_size"])})
    degrees = dict.fromkeys(_DEGREES, 1) | {name: int(row[name]) for name in ("fsdp", "tensor")}
    layout = mesh_layout(
        MeshTable(),
        degrees,
        global_batch=int(row["batch_size"]),
        sequence_length=int(row["sequence_length"]),
        remat=row["remat"],
        flash=True,
    )
    framework = trainer(row["compute_dtype"], cpu=row["platform"] == "cpu")
    planned = memory(Shapes.of(config), layout, framework, state_neighbours(degrees)).total
    return CompiledStep(
        row["id"],
        row["compiler"],
        row["platform"],
        num_parameters(config),
        float(row["compiled_bytes"]),
        float(np.ravel(planned)[0]),
    )
