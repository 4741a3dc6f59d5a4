"""What the planner expects of one job on the machine at hand, before it runs. Imports no JAX."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pippin.catalog.chips import load_chips
from pippin.models.config import ModelConfig
from pippin.plan.at_hand import AtHand, Grounded, ground, layout_of
from pippin.plan.calibration import Calibration
from pippin.plan.counts import training_flops_per_token
from pippin.plan.estimate import INTERVAL_BASIS, Estimate
from pippin.plan.framework import trainer
from pippin.plan.layout import Layouts
from pippin.plan.memory import memory
from pippin.plan.memory_steps import MemoryInterval, memory_interval
from pippin.plan.own import intervals
from pippin.plan.ranked import Rated, bounded, mfu_basis
from pippin.plan.shape import Shapes
from pippin.plan.steptime import StepTime, step_time


@dataclass(frozen=True)
class Foresight:
    """One job's step on one machine. `memory_bytes` are of a device, `parts` seconds that add up to the step.

    `mfu` is None where no peak is rated, for the reason in `mfu_basis`.
    """

    step: Estimate
    tokens: int
    mfu: Estimate | None
    mfu_basis: str
    memory_bytes: float
    memory_basis: str
    memory_interval: MemoryInterval
    parts: dict[str, float]
    basis: str
    calibration: str
    interval: str

    @property
    def tokens_per_second(self) -> Estimate:
        return self.step.inverse(self.tokens)


def foresee(
    config: ModelConfig,
    batch_size: int,
    sequence_length: int,
    machine: AtHand,
    calibration: Calibration,
    **otherwise: Any,
) -> Foresight:
    """The expected step.

    Args:
        config: the model.
        batch_size: sequences a step.
        sequence_length: tokens of one.
        machine: where it runs.
        calibration: what the coefficients rest on.
        otherwise: fields of the layout that are not as an assay has them (`layout_of`).

    Raises:
        PippinError: nobody knows the machine's matrix rate.
    """
    grounded = ground(machine)
    columns = layout_of(machine, batch_size, sequence_length) | otherwise
    layout = Layouts(**{name: np.array([value]) for name, value in columns.items()})
    shapes, system = Shapes.of(config), grounded.system
    steps = step_time(shapes, layout, system, calibration)
    tokens = batch_size * sequence_length
    flops = training_flops_per_token(config, sequence_length) * tokens
    chip = load_chips().get(machine.catalog_id or "")
    rated = Rated.of(chip, machine.precision) if chip else Rated(None, f"no rated peak for {machine.name}")
    floor = flops / machine.chips / (rated.flops_per_second or system.matrix_flops)
    ends = intervals(calibration, steps.step_seconds, shapes, layout, system, config.moe is not None)
    value, low, high = (float(np.ravel(x)[0]) for x in (steps.step_seconds, *ends))
    step = bounded(value, low, high, floor)
    peak = rated.flops_per_second
    framework = trainer(machine.compute_dtype, cpu=machine.platform == "cpu")
    held = float(np.ravel(memory(shapes, layout, framework).total)[0])
    return Foresight(
        step=step,
        tokens=tokens,
        mfu=step.inverse(flops / (machine.chips * peak)) if peak else None,
        mfu_basis=mfu_basis(rated),
        memory_bytes=held,
        memory_basis=f"{framework.name}: {framework.source}",
        memory_interval=memory_interval(machine.platform, config, held),
        parts=_parts(steps),
        basis=grounded.basis,
        calibration=calibration.said_of(system),
        interval=_interval_basis(grounded, calibration, config),
    )


def _parts(steps: StepTime) -> dict[str, float]:
    return {f.name: float(np.ravel(getattr(steps, f.name))[0]) for f in fields(StepTime)}


def _interval_basis(grounded: Grounded, calibration: Calibration, config: ModelConfig) -> str:
    if grounded.system.rated:
        return INTERVAL_BASIS
    spread = calibration.spread(grounded.system, config.moe is not None)
    return (
        "meant to hold the truth four times out of five, but no published run is of a machine of this kind: "
        f"its width is assumed, a factor of {np.exp(np.ravel(spread)[0]):.2f} each way, and narrower for a "
        "machine that was assayed before (docs/projection.md)"
    )
