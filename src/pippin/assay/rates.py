"""The report's sections of rates: products, bandwidth, and what the efficiency numbers rest on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pippin.assay.findings import Findings, Unknown
from pippin.assay.microbenchmarks import Bandwidth, MatmulRate
from pippin.catalog import why_no_peak
from pippin.models.counts import FLOP_DEFINITION


def why_no_rated_peak(found: Findings) -> str:
    """The reason why the catalog has no peak for this chip."""
    chip = found.machine.chip
    # A CPU's device kind is just "cpu"; its name says which it is.
    named = chip.name if chip.platform == "cpu" else chip.device_kind
    return why_no_peak(found.machine.known, found.machine.choices.compute_dtype, device_kind=named)


def basis_section(found: Findings, measured: MatmulRate | None, unknown: Unknown) -> dict[str, Any]:
    peak, why = found.machine.peak, why_no_rated_peak(found)
    rated = {
        "peak_tflops": peak and peak.tflops,
        "peak_dtype": peak and peak.dtype,
        "peak_source": peak and peak.source,
        "peak_date": peak and peak.date.isoformat(),
        "peak_unit": peak and peak.unit,
    }
    method = measured and (
        f"median of {measured.repeats} timed products of {measured.m} x {measured.k} by "
        f"{measured.k} x {measured.n}, float32 result; the highest of the shapes measured"
    )
    own = {
        "measured_peak_flops_per_second": measured and measured.flops_per_second,
        "measured_peak_dtype": measured and measured.dtype,
        "measured_peak_method": method,
    }
    return {
        "flop_definition": FLOP_DEFINITION,
        "compute_dtype": found.machine.choices.compute_dtype,
        **{name: unknown.known(f"basis.{name}", value, why) for name, value in rated.items()},
        **{
            name: unknown.known(f"basis.{name}", value, "no matrix product ran in the compute dtype")
            for name, value in own.items()
        },
        "tokens_per_second_definition": (
            "tokens of the steps after the first over the time of those steps' spans"
        ),
        "tokens_per_second_end_to_end_definition": (
            "all tokens trained on over all wall time from the start of the process to the end of the "
            "ledger: data, microbenchmarks, compile, steps, saves, validation, references and sample included"
        ),
    }


def matmul_section(rates: list[MatmulRate], unknown: Unknown) -> list[dict[str, Any]]:
    rows = []
    for index, rate in enumerate(rates):
        row = asdict(rate)
        reason = row.pop("reason") or "not measured"
        rows.append(
            {name: unknown.known(f"matmul.{index}.{name}", value, reason) for name, value in row.items()}
        )
    return rows


def bandwidth_section(bandwidth: Bandwidth, unknown: Unknown) -> dict[str, Any]:
    names = ("bytes_per_second", "low", "high", "method", "array_bytes")
    reason = bandwidth.reason or "not measured"
    return {
        name: unknown.known(f"memory_bandwidth.{name}", getattr(bandwidth, name), reason) for name in names
    }
