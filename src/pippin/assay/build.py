"""From what an assay found to the report: every number in its place, every unknown with its reason."""

from __future__ import annotations

import datetime

from pippin.assay.findings import Findings, Unknown
from pippin.assay.foresight import prediction_section
from pippin.assay.full_sections import microbenchmarks_section, waterfall_section
from pippin.assay.microbenchmarks import best_rate
from pippin.assay.numerics.section import numerics_section
from pippin.assay.projection import projection_section
from pippin.assay.rates import bandwidth_section, basis_section, matmul_section, why_no_rated_peak
from pippin.assay.training import (
    curves,
    energy_section,
    held_out_section,
    price_section,
    sample_section,
    step_seconds_section,
)
from pippin.assay.what_ran import chip_section, workload_section
from pippin.assay.windows import speed_section
from pippin.models.counts import training_flops_per_token
from pippin.report.schema import SCHEMA_VERSION, Report
from pippin.train.setup import mfu, versions


def build_report(found: Findings) -> Report:
    """Makes the report. Rates are those of the ledger; nothing is measured here."""
    unknown = Unknown()
    job, rate = found.job, found.account.tokens_per_second
    assert rate is not None and found.account.tokens_per_second_end_to_end is not None
    flops = training_flops_per_token(job.shape, job.train.sequence_length)
    delivered = flops * rate
    measured = best_rate(found.rates, found.machine.choices.compute_dtype)
    peak = measured.flops_per_second if measured else None
    share = unknown.known(
        "measured_peak_share",
        delivered / (peak * found.machine.num_chips) if peak else None,
        "no matrix product ran in the compute dtype",
    )
    return Report.model_validate(
        {
            "schema_version": SCHEMA_VERSION,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "pippin_version": versions()["pippin"],
            "versions": versions(),
            "job_hash": job.hash,
            "data_sha256": found.dataset.sha256,
            "seed": job.train.seed,
            "command": list(found.request.command),
            "chip": chip_section(found, unknown),
            "workload": workload_section(found),
            "full": found.request.full,
            "minutes_requested": found.request.minutes,
            "steps": found.account.steps,
            "tokens": found.account.tokens,
            "wall_seconds": found.account.wall_seconds,
            "train_seconds": found.train_seconds,
            "tokens_per_second": rate,
            "tokens_per_second_end_to_end": found.account.tokens_per_second_end_to_end,
            "seconds_by_category": found.account.seconds_by_category,
            "goodput": found.account.seconds_by_category["step"] / found.account.wall_seconds,
            "flops_per_token": flops,
            "model_flops_per_second": delivered,
            "mfu": _mfu(found, rate, delivered, unknown),
            "measured_peak_share": share,
            "basis": basis_section(found, measured, unknown),
            "microbenchmarks": microbenchmarks_section(found, unknown),
            "waterfall": waterfall_section(found, unknown),
            "matmul": matmul_section(found.rates, unknown),
            "memory_bandwidth": bandwidth_section(found.bandwidth, unknown),
            "numerics": numerics_section(found.numerics, unknown),
            **curves(found.metrics),
            "step_seconds": step_seconds_section(found.spans),
            "prediction": prediction_section(found, unknown),
            "speed": speed_section(found, unknown),
            "held_out": held_out_section(found, unknown),
            "projection": projection_section(found, unknown),
            "sample": sample_section(found, unknown),
            "price": price_section(found, rate, unknown),
            "energy": energy_section(found, unknown),
            "parameter_sha256": found.summary["parameter_sha256"],
            "unknown": unknown,
        }
    )


def _mfu(found: Findings, rate: float, delivered: float, unknown: Unknown) -> float | None:
    rated = found.machine.peak_flops_per_second
    why = why_no_rated_peak(found)
    if rated and delivered > rated:
        why = f"the share of the rated peak would be {delivered / rated:.2f}: the catalog's peak is wrong"
    share: float | None = unknown.known("mfu", mfu(found.job, found.machine, rate), why)
    return share
