"""An assay's report as a measured run, to calibrate with."""

from __future__ import annotations

from pathlib import Path

from pippin.catalog.chips import load_chips
from pippin.errors import PippinError
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.runs import Run
from pippin.plan.system import PRESENT_YEAR, System
from pippin.report.schema import Report, load_report


def run_of_report(path: Path) -> Run:
    """The run that an assay measured: its preset on its chip, one step of it.

    Raises:
        PippinError: the report cannot be read, or its chip is not in the catalog.
    """
    report = load_report(path)
    if report.chip.catalog_id is None:
        raise PippinError(
            f"{report.chip.name} is not in the catalog, so there is no chip to calibrate",
            where=path,
            fix="add the chip to the catalog (see docs/catalog.md)",
        )
    work = report.workload
    shape = ModelConfig.model_validate({**preset(work.preset), "vocab_size": work.vocab_size})
    system = System.of(report.chip.catalog_id, "bf16", stack="jax", year=PRESENT_YEAR)
    return Run(
        id=f"assay-{report.job_hash[:12]}-{report.created}",
        source=f"assay of {report.chip.name}",
        model=work.preset,
        family="pippin",
        chip_id=report.chip.catalog_id,
        precision="bf16",
        tier="A",
        task="pretrain",
        cells={"n_chips": str(_chips(report)), "gbs": str(work.batch_size), "seq": str(work.sequence_length)},
        shape=shape,
        layout=_layout(report),
        system=system,
        step_seconds=report.step_seconds.median,
    )


def _chips(report: Report) -> int:
    """Chips that took part; a JAX device may be one core of several."""
    chip = load_chips()[report.chip.catalog_id or ""]
    per_chip = (chip.cores_per_chip or 1) if report.chip.unit == "core" else 1
    return max(report.chip.num_devices // per_chip, 1)


def _layout(report: Report) -> dict[str, object]:
    chips, work = _chips(report), report.workload
    return {
        "tensor": 1,
        "context": 1,
        "stage": 1,
        "interleave": 1,
        "data": chips,
        "expert": 1,
        "zero": 3 if chips > 1 else 0,
        "micro_batch": work.batch_size / chips,
        "global_batch": work.batch_size,
        "sequence_length": work.sequence_length,
        "recompute_layers": 0.0,
        "recompute_attention": False,
        "sequence_parallel": False,
        # The reference attention makes the array of scores; the named backends do not.
        "flash": report.chip.rules.attention not in ("reference", "blocked"),
        "tensor_overlap": True,
        "data_overlap": True,
    }
