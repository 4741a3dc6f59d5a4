"""The report in a dozen lines, for a terminal."""

from __future__ import annotations

from pathlib import Path

from pippin.report.prediction_figure import error_words
from pippin.report.projection_figure import projection_finding
from pippin.report.schema import Report
from pippin.report.units import bits, dollars, duration, percent, si
from pippin.report.waterfall_figure import waterfall_finding


def summary(report: Report, folder: Path) -> str:
    """A line for each thing that matters; what is not known says why. `folder` holds the page."""
    work = report.workload
    lines = {
        "chip": f"{report.chip.name} ({report.chip.platform}, {report.chip.cores} cores)",
        "workload": f"{work.preset}, {work.num_parameters / 1e6:.1f} M parameters, "
        f"{report.tokens:,} tokens of {work.corpus} in {report.steps} steps",
        "tokens/s": f"{report.tokens_per_second:,.0f} in the steps, "
        f"{report.tokens_per_second_end_to_end:,.0f} end to end",
        "model FLOP/s": si(report.model_flops_per_second, "FLOP/s"),
        "of measured peak": _measured_share(report) or report.unknown.get("measured_peak_share"),
        "MFU": _mfu(report) or f"unknown: {report.unknown.get('mfu')}",
        "predicted": _predicted(report) or f"unknown: {report.unknown.get('prediction')}",
        "time": waterfall_finding(report.waterfall)
        if report.waterfall
        else report.unknown.get("waterfall", ""),
        "held out": _held_out(report),
        "cost": _cost(report) or f"unknown: {report.unknown.get('price.usd_per_million_tokens')}",
        "energy": _energy(report) or f"unknown: {report.unknown.get('energy.joules')}",
        "numerics": _numerics(report),
        "took": duration(report.wall_seconds),
        "report": str(folder / "report.html"),
    }
    if report.projection and report.projection.fleets:
        lines |= {"projection": projection_finding(report.projection)}
    return "\n".join(f"{name:>16}  {text}" for name, text in lines.items())


def _predicted(report: Report) -> str | None:
    said = report.prediction
    if said is None:
        return None
    return (
        f"{si(said.step_seconds, 's')} a step ({si(said.step_seconds_low, 's')} to "
        f"{si(said.step_seconds_high, 's')}); measured {si(said.measured_step_seconds, 's')}, "
        f"{error_words(said.step_error)}"
    )


def _numerics(report: Report) -> str:
    numerics = report.numerics
    if numerics is None:
        return report.unknown.get("numerics", "")
    said = {True: "passed", False: "FAILED", None: "cannot tell"}[numerics.passed]
    return f"{said}: {numerics.verdict}"


def _held_out(report: Report) -> str:
    held_out, fewer = report.held_out, report.held_out.fewer_bits_than_xz
    against = f"{percent(abs(fewer))} {'fewer' if fewer >= 0 else 'more'} than xz -9"
    xz, zstd = bits(held_out.xz_bits_per_byte), bits(held_out.zstd_bits_per_byte)
    return f"{bits(held_out.bits_per_byte)} bits/byte, {against} ({xz}); zstd -19 {zstd}"


def _measured_share(report: Report) -> str | None:
    share, basis = report.measured_peak_share, report.basis
    if share is None or basis.measured_peak_flops_per_second is None:
        return None
    rate = si(basis.measured_peak_flops_per_second, "FLOP/s")
    return f"{percent(share)} of {rate} ({basis.compute_dtype} matrix products)"


def _mfu(report: Report) -> str | None:
    basis = report.basis
    if report.mfu is None or basis.peak_tflops is None:
        return None
    return (
        f"{percent(report.mfu)} of {basis.peak_tflops:g} TFLOP/s "
        f"({basis.peak_dtype}, a {basis.peak_unit}, {basis.peak_source})"
    )


def _cost(report: Report) -> str | None:
    price = report.price.usd_per_million_tokens
    return None if price is None else f"{dollars(price)} a million tokens, in the steps"


def _energy(report: Report) -> str | None:
    energy = report.energy
    return None if energy.joules is None else f"{si(energy.joules, 'J')} in the training ({energy.meter})"
