"""What the page says first: one sentence to quote, its basis, and the tiles of key numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pippin.report.schema import Report
from pippin.report.units import (
    SPACE,
    bits,
    byte_size,
    count,
    dollars,
    duration,
    percent,
    si,
    significant,
)

_KINDS = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU", "rocm": "GPU", "tpu": "TPU", "neuron": "Neuron chip"}


@dataclass(frozen=True)
class Tile:
    """A key number with its unit; `value` is None where it is unknown, and then `note` is the reason."""

    label: str
    value: str | None
    unit: str
    note: str


def headline(report: Report) -> str:
    """The sentence to quote: what the chip does, at which share of its rate, for how much."""
    kind = _KINDS.get(report.chip.platform.lower(), "chip")
    who = f"This {kind}" if report.chip.num_devices <= 1 or kind == "CPU" else f"These {kind}s"
    verb = "pretrains" if who.startswith("This") else "pretrain"
    where = "it" if who.startswith("This") else "them"
    rate = significant(report.tokens_per_second)
    text = f"{who} {verb} {report.workload.preset} at {rate} tokens/s"
    if report.measured_peak_share is not None:
        dtype = report.basis.measured_peak_dtype or report.basis.compute_dtype
        text += f": {percent(report.measured_peak_share)} of the matrix rate measured on {where} ({dtype})"
    if report.mfu is not None:
        text += f", {percent(report.mfu)} of the rated peak"
    if report.price.usd_per_million_tokens is not None:
        text += f", at {dollars(report.price.usd_per_million_tokens)} per million tokens"
    return text + "."


def basis_line(report: Report) -> str:
    """What the headline rests on."""
    workload = report.workload
    return (
        f"Measured by really training: {report.steps:,} steps of {workload.batch_size:,} × "
        f"{workload.sequence_length:,} tokens in {duration(report.train_seconds)}, a model of "
        f"{count(workload.num_parameters)} parameters, on {workload.corpus}. "
        f"FLOP count: {report.basis.flop_definition}"
    )


def chip_line(report: Report) -> list[str]:
    """Short facts about the chip, for the line under its name."""
    chip = report.chip
    facts = (
        [chip.device_kind]
        if chip.device_kind.lower() not in (chip.platform.lower(), chip.name.lower())
        else []
    )
    if chip.num_devices > 1:
        facts.append(f"{chip.num_devices:,} devices")
    if chip.cores is not None:
        facts.append(f"{chip.cores:,} logical cores")
    if chip.physical_cores is not None:
        facts.append(f"{chip.physical_cores:,} physical")
    facts += chip.simd
    if chip.memory_bytes is not None:
        facts.append(f"{byte_size(chip.memory_bytes)} of memory")
    return facts


def tiles(report: Report) -> list[Tile]:
    """The key numbers, each with what it rests on."""
    held_out = report.held_out
    fewer = held_out.fewer_bits_than_xz
    xz = bits(held_out.xz_bits_per_byte)
    rate = f"{significant(report.tokens_per_second)}{SPACE}tokens/s"
    end_to_end = f"{significant(report.tokens_per_second_end_to_end)}{SPACE}tokens/s"
    wall = duration(report.wall_seconds)
    flops = f"{si(report.flops_per_token, 'FLOP')} for each token, in {report.basis.compute_dtype}"
    comparison = f"{percent(abs(fewer))} {'fewer' if fewer >= 0 else 'more'} than xz -9 ({xz})"
    return [
        _tile("Training rate", rate, "steps after the first, over their time"),
        _tile("End to end", end_to_end, f"all tokens over {wall}, with compiling, scoring and saving"),
        _tile("Model arithmetic", si(report.model_flops_per_second, "FLOP/s"), flops),
        _or_unknown(report, "Share of measured peak", "measured_peak_share", _peak_share),
        _or_unknown(report, "MFU", "mfu", _mfu),
        _tile("Held-out text", f"{bits(held_out.bits_per_byte)}{SPACE}bits/byte", comparison),
        _or_unknown(report, "Price", "price.usd_per_million_tokens", _price),
        _or_unknown(report, "Energy", "energy.joules_per_token", _energy),
    ]


def _tile(label: str, quantity: str, note: str) -> Tile:
    value, _, unit = quantity.partition(SPACE)
    return Tile(label, quantity, "", note) if unit == "%" else Tile(label, value, unit, note)


def _or_unknown(report: Report, label: str, path: str, write: Callable[[Report], tuple[str, str]]) -> Tile:
    if path in report.unknown:
        return Tile(label, None, "", report.unknown[path])
    return _tile(label, *write(report))


def _words(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _peak_share(report: Report) -> tuple[str, str]:
    basis = report.basis
    rate = basis.measured_peak_flops_per_second
    peak = (
        "the fastest matrix product" if rate is None else f"{si(rate, 'FLOP/s')}, the fastest matrix product"
    )
    return percent(report.measured_peak_share or 0), _words(f"of {peak} in {basis.measured_peak_dtype}")


def _mfu(report: Report) -> tuple[str, str]:
    basis = report.basis
    peak = (
        "the rated peak"
        if basis.peak_tflops is None
        else f"the rated {si(1e12 * basis.peak_tflops, 'FLOP/s')}"
    )
    unit = f"per {basis.peak_unit}" if basis.peak_unit else None
    return percent(report.mfu or 0), "of " + _words(peak, basis.peak_dtype, unit, basis.peak_source)


def _price(report: Report) -> tuple[str, str]:
    price = report.price
    hourly = None if price.usd_per_hour is None else f"{dollars(price.usd_per_hour)} an hour"
    note = _words(hourly, price.kind, price.region, price.date)
    return f"{dollars(price.usd_per_million_tokens or 0)}{SPACE}per M tokens", note


def _energy(report: Report) -> tuple[str, str]:
    energy = report.energy
    total = None if energy.joules is None else f"{si(energy.joules, 'J')} in all"
    return f"{si(energy.joules_per_token or 0, 'J')} per token", _words(total, energy.meter, energy.scope)
