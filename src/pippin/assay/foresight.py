"""The planner asked before the training, and its answer set beside what came out."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pippin.assay.findings import Findings, Unknown
from pippin.assay.microbenchmarks import Bandwidth, MatmulRate, best_rate
from pippin.assay.training import step_seconds_section
from pippin.errors import PippinError
from pippin.job import Job
from pippin.plan.at_hand import AtHand
from pippin.plan.calibration import Calibration, read_calibration, shipped_calibration
from pippin.plan.estimate import Estimate
from pippin.plan.foresight import Foresight, foresee
from pippin.storage import write_json
from pippin.train.run import PREDICTION
from pippin.train.setup import Machine
from pippin.train.step import Program


def calibration_of(path: Path | None) -> Calibration:
    """The calibration in a file, or the shipped one."""
    return read_calibration(path) if path else shipped_calibration()


def at_hand(machine: Machine, rates: Sequence[MatmulRate], bandwidth: Bandwidth) -> AtHand:
    """The machine as the planner takes it, with what the microbenchmarks found."""
    chip, known, choices = machine.chip, machine.known, machine.choices
    best = best_rate(rates, choices.compute_dtype)
    return AtHand(
        name=chip.name,
        platform=chip.platform,
        catalog_id=known.chip_id if known else None,
        unit=machine.unit,
        num_devices=chip.num_devices,
        cores=chip.cores,
        memory_bytes=chip.memory_bytes,
        compute_dtype=choices.compute_dtype,
        attention=choices.attention,
        remat=choices.remat,
        matrix_flops_per_second=best.flops_per_second if best else None,
        memory_bytes_per_second=bandwidth.bytes_per_second,
    )


def predict(job: Job, machine: AtHand, calibration: Calibration, folder: Path) -> dict[str, Any]:
    """Asks the planner and writes its answer into the run's folder, before the first step.

    Returns:
        The content of `prediction.json`: what docs/projection.md says, or `reason` alone where the planner
        cannot know.
    """
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        train = job.train
        said = _content(foresee(job.shape, train.batch_size, train.sequence_length, machine, calibration))
    except PippinError as error:
        said = {"reason": error.what}
    content = {"made": made, "job_hash": job.hash, **said}
    write_json(folder / PREDICTION, content)
    return content


def _content(found: Foresight) -> dict[str, Any]:
    return {
        **Estimate.fields("step_seconds", found.step),
        **Estimate.fields("tokens_per_second", found.tokens_per_second),
        **Estimate.fields("mfu", found.mfu),
        "mfu_basis": found.mfu_basis,
        "memory_bytes": round(found.memory_bytes),
        **found.memory_interval.fields,
        "memory_basis": found.memory_basis,
        "parts": [{"name": name, "seconds": seconds} for name, seconds in found.parts.items() if seconds],
        "basis": found.basis,
        "calibration": found.calibration,
        "interval": found.interval,
    }


def memory_of_a_step(
    machine: Machine, program: Program, peaks: tuple[int | None, int | None]
) -> tuple[int | None, str]:
    """Bytes of a step on one device and how they were measured; None, and why, where they are not.

    Args:
        machine: where the step ran.
        program: the compiled step.
        peaks: what the device's allocator had in use at the most, before the training and after it.
    """
    before, after = peaks
    # On a CPU the peak is the whole process'; elsewhere one that did not grow is the microbenchmarks'.
    if machine.chip.platform != "cpu" and before is not None and after is not None and after > before:
        return after, "the peak of the device's allocator in the training"
    if (allotted := program.step_bytes) is None:
        return None, "neither the device's allocator nor the compiler says what a step takes"
    return allotted, "what the compiler allots to the step on one device: state, batch and temporaries"


def prediction_section(found: Findings, unknown: Unknown) -> dict[str, Any] | None:
    """The prediction beside what was measured; None where the planner could not know."""
    predicted, (taken, method) = found.predicted, found.step_memory
    if "reason" in predicted:
        section: dict[str, Any] | None = unknown.known("prediction", None, predicted["reason"])
        return section
    step_seconds = step_seconds_section(found.spans)["median"]
    section = {name: value for name, value in predicted.items() if name not in ("job_hash", "mfu_basis")}
    section |= {
        "measured_step_seconds": step_seconds,
        "step_error": step_seconds / predicted["step_seconds"] - 1,
        "step_inside": predicted["step_seconds_low"] <= step_seconds <= predicted["step_seconds_high"],
        "measured_memory_bytes": taken,
        "measured_memory_method": method if taken else None,
        "memory_error": taken / predicted["memory_bytes"] - 1 if taken else None,
    }
    reasons = {"mfu": predicted["mfu_basis"], "memory_bytes": predicted["memory_interval"]}
    for name, value in section.items():
        reason = next((why for start, why in reasons.items() if name.startswith(start)), method)
        unknown.known(f"prediction.{name}", value, reason)
    return section
