"""The memory model's fitted constants, and how far it is off on runs that it was not fitted to.

`data/memory_runs.csv` has the published runs with a measured peak: 37 on one node of 8 B200 with Megatron-LM
0.14, models cut to 4 or 12 layers, `max_memory_allocated` of the fullest rank. They are from
github.com/MooreThreads/SimuMax at 4dcaae5, docs/b200/b200_release_v1.2_summary.md, which also says that the
cut DeepSeek-V3 has one dense layer. Sequence parallel, flash attention, ZeRO 1, no recomputation, bf16.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.framework import MEGATRON, Framework
from pippin.plan.layout import Floats, Layouts
from pippin.plan.memory import memory
from pippin.plan.shape import Shapes

FITTED = ("logit", "weight_scratch")
_GIB = 2**30


@dataclass(frozen=True)
class MemoryRun:
    """One run: what was trained, how it was spread, and the peak in bytes."""

    id: str
    family: str
    config: ModelConfig
    layout: dict[str, int]
    peak_bytes: float


def memory_runs() -> list[MemoryRun]:
    """The runs that ship with the package."""
    text = files("pippin.plan").joinpath("data", "memory_runs.csv").read_text(encoding="utf-8")
    return [_run(row) for row in csv.DictReader(io.StringIO(text))]


def _run(row: dict[str, str]) -> MemoryRun:
    fields = preset(row["shape"]) | {"num_layers": int(row["layers"])}
    if "moe" in fields:
        fields["moe"] = fields["moe"] | {"first_dense_layers": int(row["first_dense_layers"])}
    names = ("tensor", "context", "stage", "data", "expert", "global_batch", "sequence_length")
    layout = {name: int(row[name]) for name in names}
    return MemoryRun(row["id"], row["family"], ModelConfig(**fields), layout, float(row["peak_gib"]) * _GIB)


def predicted(runs: Sequence[MemoryRun], framework: Framework = MEGATRON) -> Floats:
    """Peak bytes that the model gives, one a run."""
    columns = {name: np.array([run.layout[name] for run in runs]) for name in runs[0].layout}
    one, no = np.ones(len(runs), np.int64), np.zeros(len(runs), bool)
    layouts = Layouts(
        **columns,
        interleave=one,
        zero=one,
        sequence_parallel=columns["tensor"] > 1,
        micro_batch=one,
        recompute_layers=np.zeros(len(runs)),
        recompute_attention=no,
        flash=~no,
        tensor_overlap=no,
        data_overlap=no,
    )
    return memory(Shapes.of([run.config for run in runs]), layouts, framework).total


def fit_memory(runs: Sequence[MemoryRun], start: Framework = MEGATRON) -> Framework:
    """Fits the constants of `FITTED` by least squares of relative errors, none below zero.

    The model is linear in them but for the choice of the fullest stage, so a few Gauss-Newton steps do.
    """
    peaks = np.array([run.peak_bytes for run in runs])
    for _ in range(4):
        values = np.array([getattr(start, name) for name in FITTED])
        now = predicted(runs, start) / peaks
        steps = np.where(values > 0, values, 1.0) * 1e-3
        slopes = []
        for name, value, step in zip(FITTED, values, steps, strict=True):
            slopes.append((predicted(runs, replace(start, **{name: value + step})) / peaks - now) / step)
        change = np.linalg.lstsq(np.stack(slopes, axis=1), 1.0 - now, rcond=None)[0]
        start = replace(start, **dict(zip(FITTED, np.maximum(values + change, 0.0).tolist(), strict=True)))
    return start


def cross_validated_errors(runs: Sequence[MemoryRun]) -> Floats:
    """Relative errors of every run, from constants fitted to the other models' runs."""
    errors = np.zeros(len(runs))
    for family in {run.family for run in runs}:
        held = [i for i, run in enumerate(runs) if run.family == family]
        fitted = fit_memory([run for run in runs if run.family != family])
        peaks = np.array([runs[i].peak_bytes for i in held])
        errors[held] = predicted([runs[i] for i in held], fitted) / peaks - 1.0
    return errors
