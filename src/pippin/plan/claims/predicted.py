"""What the planner says of the steps that the claims on pretraining rest on."""

from __future__ import annotations

from math import exp, hypot

import numpy as np

from pippin.plan.calibration import shipped_calibration
from pippin.plan.claims.evidence import Evidence, Run, Seen, shape_of
from pippin.plan.claims.finding import Number
from pippin.plan.layout import Layouts
from pippin.plan.shape import Shapes
from pippin.plan.steptime import step_time
from pippin.plan.system import System

# AXLearn's runs are of 2024, its paper of 2025.
_YEAR = 2025.0


def _layout(run: Run, batch: int) -> Layouts:
    """Fully sharded over all chips, every layer computed twice: AXLearn shards so on all three chips, and the
    activations of 70B do not fit otherwise."""
    one = np.array([1])
    return Layouts(
        tensor=one,
        context=one,
        stage=one,
        interleave=one,
        data=np.array([run.chips]),
        expert=one,
        zero=np.array([3]),
        sequence_parallel=np.array([False]),
        micro_batch=np.array([max(1, batch // run.chips)]),
        global_batch=np.array([batch]),
        sequence_length=np.array([run.sequence_length]),
        recompute_layers=np.array([1.0]),
        recompute_attention=np.array([False]),
        flash=np.array([True]),
        tensor_overlap=np.array([True]),
        data_overlap=np.array([True]),
    )


def _step(run: Run, batch: int) -> tuple[float, float]:
    """Seconds, and half the width of the logarithm's 80 % interval."""
    system, calibration = System.of(run.chip, "bf16", year=_YEAR), shipped_calibration()
    seconds = step_time(Shapes.of(shape_of(run.model)), _layout(run, batch), system, calibration).step_seconds
    return float(seconds[0]), float(np.ravel(calibration.spread(system, False))[0])


def _number(value: float, spread: float, unit: str, basis: str) -> Number:
    return Number(value, unit, basis, (value / exp(spread), value * exp(spread)))


def predictions(e: Evidence, model: str, batch: int, trn2: Seen, h100: Seen) -> dict[str, Number]:
    """Steps as the planner predicts them, beside the measured ones, and what they would cost."""
    numbers = {}
    steps = {}
    for chip in ("trn2", "h100"):
        run = e.run(f"axlearn-{model}-{chip}")
        steps[chip] = run.chips, *_step(run, batch)
        basis = (
            f"the shipped calibration, which no AXLearn run entered; {run.chips:,} chips, fully sharded, "
            f"all layers recomputed; measured {run.seconds:g} s"
        )
        numbers[f"predicted step, {chip}, {model}"] = _number(*steps[chip][1:], "s", basis)
    (new, new_seconds, new_spread), (old, old_seconds, old_spread) = steps["trn2"], steps["h100"]
    ratio = old * old_seconds * h100.usd / (new * new_seconds * trn2.usd)
    basis = f"both steps predicted; trn2 at {trn2.basis}, h100 at {h100.basis}, USD a chip-hour"
    spread = hypot(new_spread, old_spread)
    numbers[f"tokens per dollar, predicted, {model}"] = _number(ratio, spread, "times", basis)
    return numbers
