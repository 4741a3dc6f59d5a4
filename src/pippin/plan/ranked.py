"""Layouts one by one: step with interval, MFU, memory, and why one loses to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pippin.catalog.chips import CatalogChip
from pippin.catalog.peaks import peak, why_no_peak
from pippin.models.counts import FLOP_DEFINITION
from pippin.plan.counts import training_flops_per_token
from pippin.plan.estimate import Estimate
from pippin.plan.layout import Layouts
from pippin.plan.memory import Memory, memory
from pippin.plan.own import intervals
from pippin.plan.precedent import Precedent, precedent
from pippin.plan.search import Task
from pippin.plan.shape import Shapes
from pippin.plan.steptime import StepTime, step_time

_DTYPES = {"bf16": "bfloat16", "fp8": "float8", "fp32": "float32"}
_WORDS = {
    "tensor": "TP",
    "context": "CP",
    "stage": "PP",
    "interleave": "interleave",
    "data": "DP",
    "expert": "EP",
}


@dataclass(frozen=True)
class Rated:
    """The rated peak of a chip that MFU is a share of; None with the reason."""

    flops_per_second: float | None
    basis: str
    precedent: Precedent | None = None

    @classmethod
    def of(cls, chip: CatalogChip, precision: str) -> Rated:
        """The peak in the format of the matrix products."""
        known = peak(chip, _DTYPES[precision]) if precision in _DTYPES else None
        if known:
            basis = f"{known.tflops:g} TFLOP/s a chip in {known.dtype}, dense ({known.source}, {known.date})"
            return cls(known.tflops * 1e12, basis, precedent(chip.chip_id, precision))
        tflops = {"fp4": chip.fp4_tflops, "int8": chip.int8_tops}.get(precision)
        if tflops:
            basis = (
                f"{tflops:g} T operations/s a chip in {precision}, dense ({chip.flops_source}, {chip.as_of})"
            )
            return cls(tflops * 1e12, basis, precedent(chip.chip_id, precision))
        return cls(None, why_no_peak(chip, _DTYPES.get(precision, precision)))


@dataclass(frozen=True)
class RankedLayout:
    """One layout with what it takes. `components` are seconds on the critical path and add up to the step.

    `loses_by` is the difference of each component to the first layout's, largest first; empty for the first.
    """

    layout: dict[str, Any]
    chips: int
    replicas: int
    tokens: float
    step: Estimate
    mfu: Estimate | None
    memory_bytes: float
    memory_parts: dict[str, float]
    components: dict[str, float]
    loses_by: dict[str, float]
    fits: bool

    @property
    def words(self) -> str:
        """The degrees and choices, as they are spoken of."""
        return describe(self.layout)

    @property
    def slower(self) -> float:
        """Seconds a step that it takes more than the first."""
        return sum(self.loses_by.values())

    @property
    def reason(self) -> str:
        """Why it loses, in a few words: what takes longer, and what the most of it is won back by."""
        if not self.loses_by:
            return "the best that fits"
        parts = list(self.loses_by.items())
        worse, better = [p for p in parts if p[1] > 0][:2], [p for p in reversed(parts) if p[1] < 0][:1]
        said = ", ".join(f"{name} {seconds:+.3g} s" for name, seconds in [*worse, *better])
        return said if self.slower > 0 else f"faster, but what {self.chips:,} chips cost outweighs it: {said}"


def describe(layout: dict[str, Any]) -> str:
    """A layout in words: its degrees, then what else is chosen."""
    return " · ".join([degrees(layout), *choices(layout)])


def degrees(layout: dict[str, Any]) -> str:
    """The degrees other than one."""
    return " ".join(f"{w}{layout[name]}" for name, w in _WORDS.items() if layout[name] != 1) or "one chip"


def choices(layout: dict[str, Any]) -> list[str]:
    """What is chosen besides the degrees."""
    again = layout["recompute_layers"]
    said = {1.0: "full recomputation", 0.0: ""}.get(again, f"{again:.0%} of layers recomputed")
    said_of = [
        f"micro-batch {layout['micro_batch']}",
        f"ZeRO-{layout['zero']}" if layout["zero"] else "",
        "sequence parallel" if layout["sequence_parallel"] else "",
        said,
        "attention recomputed" if layout["recompute_attention"] else "",
        "" if layout["flash"] else "no flash attention",
        "tensor overlap" if layout["tensor_overlap"] else "",
        "data overlap" if layout["data_overlap"] else "",
    ]
    return [choice for choice in said_of if choice]


def rank(task: Task, layouts: Layouts, rated: Rated) -> list[RankedLayout]:
    """Evaluates layouts in full, in the order given; the first is what the others are compared with."""
    shapes = Shapes.of(task.config)
    steps = step_time(shapes, layouts, task.system, task.calibration)
    held = memory(shapes, layouts, task.framework, task.slice_chips)
    low, high = intervals(
        task.calibration, steps.step_seconds, shapes, layouts, task.system, task.config.moe is not None
    )
    flops = training_flops_per_token(task.config, task.sequence_length)
    found: list[RankedLayout] = []
    floors = _floors(task, layouts, flops, rated)
    for i in range(len(layouts)):
        value, least, most, floor = (
            float(np.broadcast_to(x, len(layouts))[i]) for x in (steps.step_seconds, low, high, floors)
        )
        step = bounded(value, least, most, floor)
        found.append(_one(task, layouts, i, step, _at(steps, i), _at(held, i), flops, rated, found))
    return found


def bounded(value: float, low: float, high: float, floor: float) -> Estimate:
    """The interval, with no end faster than the peak: a step takes its arithmetic's time at least."""
    return Estimate(value, min(value, max(low, floor)), high)


def _floors(task: Task, layouts: Layouts, flops: float, rated: Rated) -> Any:
    """Seconds of each layout's model FLOPs at the rated peak of its chips; 0 where none is rated."""
    if not rated.flops_per_second:
        return 0.0
    return flops * layouts.tokens_per_step / (layouts.chips * rated.flops_per_second)


def _one(
    task: Task,
    layouts: Layouts,
    i: int,
    step: Estimate,
    components: dict[str, float],
    parts: dict[str, float],
    flops: float,
    rated: Rated,
    before: Sequence[RankedLayout],
) -> RankedLayout:
    row = layouts.take([i])
    chips, tokens = int(row.chips[0]), float(row.tokens_per_step[0])
    first = before[0].components if before else components
    differences = {name: components[name] - first[name] for name in components}
    telling = {k: v for k, v in differences.items() if abs(v) > 1e-4 * step.value}
    held = sum(parts.values())
    mfu = None
    if rated.flops_per_second:
        mfu = step.inverse(flops * tokens / (chips * rated.flops_per_second))
    return RankedLayout(
        layout={f.name: np.ravel(getattr(row, f.name))[0].item() for f in fields(row)},
        chips=chips,
        replicas=int(row.data[0]),
        tokens=tokens,
        step=step,
        mfu=mfu,
        memory_bytes=held,
        memory_parts=parts,
        components=components,
        loses_by=dict(sorted(telling.items(), key=lambda item: -item[1])),
        fits=held <= task.usable_bytes,
    )


def _at(parts: StepTime | Memory, i: int) -> dict[str, float]:
    return {
        f.name: float(values[i] if (values := np.ravel(getattr(parts, f.name))).size > 1 else values[0])
        for f in fields(parts)
    }


def mfu_basis(rated: Rated) -> str:
    """What an MFU rests on: whose FLOPs, of which peak, of which chips."""
    if rated.flops_per_second is None:
        return rated.basis
    return f"{FLOP_DEFINITION}; peak {rated.basis}; of the chips in use; {_seen(rated)}"


def _seen(rated: Rated) -> str:
    """The best measured run, since a search picks what the model is most hopeful of."""
    best = rated.precedent
    if best is None or rated.flops_per_second is None:
        return (
            "no measured run of this chip in this precision ships with it, so that this is an extrapolation"
        )
    share = best.flops_per_second / rated.flops_per_second
    return (
        f"the best of {best.runs} measured runs of this chip reached {share:.0%} "
        f"({best.model}; {best.source}), and the best of many predictions is rather too good than too bad"
    )
