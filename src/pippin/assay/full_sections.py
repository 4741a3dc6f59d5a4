"""The report's sections of what `--full` measures of the device and the step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pippin.assay.alone import UPDATE
from pippin.assay.bars import BARS, FROM_MEASURED, Bar
from pippin.assay.findings import ONLY_FULL, Findings, Unknown
from pippin.assay.in_full import InFull
from pippin.assay.losses import Rates, waterfall
from pippin.assay.microbenchmarks import best_rate
from pippin.assay.rates import why_no_rated_peak
from pippin.assay.run_time import run_time
from pippin.assay.timing import median_interval, why_no_interval
from pippin.assay.traced import Traced
from pippin.assay.transfers import Copied, Timed
from pippin.models.parameters import flat_specs

_METHOD = (
    "the parts of the step take turns, round after round, each run before it is timed; medians over the "
    "rounds with their 95 % intervals by order statistics; products, copies and collectives one after the "
    "other, in repeats of at least 20 ms: of products and copies many are under way together, collectives "
    "follow one another in one program; latencies are of one alone, from its call to its result"
)
_NO_RATE = "no matrix product ran in the compute dtype"
_ONCE = "measured once, so there is no interval"


def microbenchmarks_section(found: Findings, unknown: Unknown) -> dict[str, Any] | None:
    """Rates of the job's parts; None without `--full`."""
    full = found.in_full
    if not isinstance(full, InFull):
        unknown.known("microbenchmarks", None, full or ONLY_FULL)
        return None
    launch = full.launch
    section = {
        "products": [_product_row(row) for row in full.products],
        "operations": _operations(found, full),
        "copies": [_copy_row(size, copied) for size, copied in full.copies.items()],
        "collectives": [_collective_row(row) for row in full.collectives],
        **{f"launch_{name}": value for name, value in _timed(launch).items()},
        "method": _METHOD,
    }
    reasons = {
        "products": [row.rate.reason for row in full.products],
        "copies": [copied if isinstance(copied, str) else None for copied in full.copies.values()],
        "collectives": [row.reason for row in full.collectives],
    }
    _note_nulls(section, reasons, launch if isinstance(launch, str) else None, unknown)
    return section


def _product_row(row: Any) -> dict[str, Any]:
    rate = row.rate
    names = ("dtype", "m", "k", "n", "flops_per_second", "low", "high", "repeats")
    return {
        "name": row.product.name,
        "direction": row.direction,
        "calls": row.product.calls,
        **{name: getattr(rate, name) for name in names},
    }


def _timed(timed: Timed | str) -> dict[str, Any]:
    if isinstance(timed, str):
        return {"seconds": None, "low": None, "high": None, "repeats": 0}
    return vars(timed)


def _copy_row(size: int, copied: Copied | str) -> dict[str, Any]:
    if isinstance(copied, str):
        return {"bytes": size, **_timed(copied), "latency_seconds": None, "bytes_per_second": None}
    rates = {"latency_seconds": copied.latency_seconds, "bytes_per_second": size / copied.one.seconds}
    return {"bytes": size, **_timed(copied.one), **rates}


def _collective_row(row: Any) -> dict[str, Any]:
    timed = ("seconds", "low", "high", "latency_seconds", "bytes_per_second", "repeats")
    names = ("kind", "devices", "chained", *timed)
    return {"bytes": row.bytes_each, **{name: getattr(row, name) for name in names}}


def _operations(found: Findings, full: InFull) -> list[dict[str, Any]]:
    rows = [
        _operation(part.name, part.calls, part.flops, part.bytes, full.alone.rounds[part.name])
        for part in full.alone.components
    ]
    size = sum(spec.size for spec in flat_specs(found.job.shape).values()) // found.machine.chip.num_devices
    # Parameter, gradient and two moments in, all but the gradient out, float32; AdamW: 14 operations.
    return [*rows, _operation(UPDATE, 1, 14 * size, 28 * size, full.alone.rounds[UPDATE])]


def _operation(name: str, calls: int, flops: int, size: int, seconds: Sequence[float]) -> dict[str, Any]:
    median, low, high = median_interval(seconds)
    return {
        "name": name,
        "calls": calls,
        "flops": flops,
        "bytes": size,
        "seconds": median,
        "low": low,
        "high": high,
        "flops_per_second": flops / median,
        "bytes_per_second": size / median,
        "repeats": len(seconds),
    }


def _note_nulls(
    section: dict[str, Any], reasons: dict[str, list[str | None]], no_launch: str | None, unknown: Unknown
) -> None:
    """Every null of the rows with the row's own reason, or that repeats were too few."""
    for table in ("products", "operations", "copies", "collectives"):
        for index, row in enumerate(section[table]):
            own = reasons.get(table, [None] * (index + 1))[index]
            for name, value in row.items():
                why = own or why_no_interval(row["repeats"]) or "one device sends nothing"
                unknown.known(f"microbenchmarks.{table}.{index}.{name}", value, why)
    for name in ("launch_seconds", "launch_low", "launch_high"):
        why = no_launch or why_no_interval(section["launch_repeats"]) or ""
        unknown.known(f"microbenchmarks.{name}", section[name], why)


def waterfall_section(found: Findings, unknown: Unknown) -> dict[str, Any] | None:
    """From the peak to the delivered tokens; None without `--full`, or without a rate to begin at."""
    traced, best = found.traced, best_rate(found.rates, found.machine.choices.compute_dtype)
    if traced is None:
        unknown.known("waterfall", None, ONLY_FULL)
        return None
    if best is None or best.flops_per_second is None:
        unknown.known("waterfall", None, _NO_RATE)
        return None
    rated = found.machine.peak_flops_per_second
    measured = best.flops_per_second * found.machine.num_chips
    rates = Rates(measured, rated, why_no_rated_peak(found))
    run = run_time(found.spans)
    bars = waterfall(traced, found.job, rates, run)
    seconds = {bar.key: bar.seconds or 0.0 for bar in bars}
    unexplained = abs(seconds["unexplained"])
    return {
        "begins_at": "rated peak" if rated else "measured rate",
        "rate_flops_per_second": rated or measured,
        "measured_flops_per_second": measured,
        "whole_seconds": run.whole,
        "own_seconds": run.own,
        "tokens": run.tokens,
        "tokens_per_second_at_peak": run.tokens / seconds["arithmetic"],
        "tokens_per_second": run.tokens / run.whole,
        "step_seconds": _traced_step(traced, unknown),
        "rounds": len(traced.groups),
        "sum_seconds": sum(bar.seconds or 0.0 for bar in bars),
        "unexplained_share": unexplained / run.whole,
        "unexplained_step_share": unexplained / run.step_seconds,
        "bars": [_bar_row(index, bar, rated is None, unknown) for index, bar in enumerate(bars)],
    }


def _traced_step(traced: Traced, unknown: Unknown) -> float | None:
    """Seconds of a traced step, the median of the groups."""
    seconds = [group.seconds / (group.stop - group.first) for group in traced.groups]
    median = statistics.median(seconds) if seconds else None
    unknown.known("waterfall.step_seconds", median, traced.reason or "")
    return median


def _bar_row(index: int, bar: Bar, from_measured: bool, unknown: Unknown) -> dict[str, Any]:
    title, method = FROM_MEASURED if from_measured and bar.key == "arithmetic" else BARS[bar.key]
    row = {"key": bar.key, "title": title, "method": method}
    for name in ("seconds", "low", "high"):
        row[name] = unknown.known(f"waterfall.bars.{index}.{name}", getattr(bar, name), bar.reason or _ONCE)
    return row
