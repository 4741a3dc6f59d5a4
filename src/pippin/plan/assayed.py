"""An assay's report as a measured run, to calibrate with."""

from __future__ import annotations

from pathlib import Path

from pippin.errors import PippinError
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.at_hand import AtHand, ground, layout_of
from pippin.plan.runs import Run
from pippin.report.schema import Report, load_report


def run_of_report(path: Path) -> Run:
    """The run that an assay measured: its preset on its machine, one step of it.

    Raises:
        PippinError: the report cannot be read, or it has neither a chip that the catalog rates nor a matrix
            rate and a bandwidth of its own.
    """
    report = load_report(path)
    work = report.workload
    shape = ModelConfig.model_validate({**preset(work.preset), "vocab_size": work.vocab_size})
    try:
        return run_of(
            machine_of_report(report),
            work.preset,
            shape,
            work.batch_size,
            work.sequence_length,
            report.step_seconds.median,
            assay=f"assay-{report.job_hash[:12]}-{report.created}",
        )
    except PippinError as error:
        raise PippinError(error.what, where=path, fix=error.fix) from error


def run_of(
    machine: AtHand,
    model: str,
    shape: ModelConfig,
    batch_size: int,
    sequence_length: int,
    step_seconds: float,
    *,
    assay: str = "this assay",
) -> Run:
    """The run of a model on a machine, one step of it; raises as `ground` does.

    Args:
        machine: where.
        model: its name.
        shape: the model.
        batch_size: sequences a step.
        sequence_length: tokens of one.
        step_seconds: measured.
        assay: the run's id.
    """
    system = ground(machine).system
    return Run(
        id=assay,
        source=f"assay of {machine.name}",
        model=model,
        family="pippin",
        chip_id=system.chip_id,
        precision=system.precision,
        tier="A",
        task="pretrain",
        cells={"n_chips": str(machine.chips), "gbs": str(batch_size), "seq": str(sequence_length)},
        shape=shape,
        layout=layout_of(machine, batch_size, sequence_length),
        system=system,
        step_seconds=step_seconds,
    )


def machine_of_report(report: Report) -> AtHand:
    """The machine that a report is of, with the rates that were measured on it."""
    chip, rules = report.chip, report.chip.rules
    return AtHand(
        name=chip.name,
        platform=chip.platform,
        catalog_id=chip.catalog_id,
        unit=chip.unit,
        num_devices=chip.num_devices,
        cores=chip.cores,
        memory_bytes=chip.memory_bytes,
        compute_dtype=rules.compute_dtype,
        attention=rules.attention,
        remat=rules.remat,
        matrix_flops_per_second=report.basis.measured_peak_flops_per_second,
        memory_bytes_per_second=report.memory_bandwidth.bytes_per_second,
    )
