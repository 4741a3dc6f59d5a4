"""The report's figures: each a drawing in two sizes, what it shows in words, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Callable

from pippin.report import plots, prediction_figure, price_figure, projection_figure
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.numerics_figures import numerics_figures
from pippin.report.roofline_figure import roofline_figure
from pippin.report.schema import Report
from pippin.report.svg import Canvas
from pippin.report.units import bits, count, duration, percent, si, significant
from pippin.report.waterfall_figure import waterfall_figure

_TABLE_ROWS = 40  # of a curve; all points are in report.json


def make_figures(report: Report) -> list[Figure]:
    """All figures, in the order of the page."""
    held_out_height = plots.held_out_height
    return [
        _figure(
            report,
            "training",
            _training,
            plots.draw_training,
            lambda narrow: plots.training_height(report, narrow),
        ),
        _figure(
            report, "held-out", _held_out, plots.draw_held_out, lambda narrow: held_out_height(report, narrow)
        ),
        *waterfall_figure(report),
        *roofline_figure(report),
        _figure(report, "time", _time, plots.draw_time, plots.time_height),
        _figure(report, "throughput", _throughput, plots.draw_throughput, plots.throughput_height),
        _figure(report, "matmul", _matmul, plots.draw_matmul, lambda narrow: plots.matmul_height(report)),
        *price_figure.figures(report),
        *prediction_figure.figures(report.prediction),
        *projection_figure.figures(report.projection),
        *numerics_figures(report),
    ]


def _figure(
    report: Report,
    key: str,
    words: Callable[[Report], Words],
    draw: Callable[[Report, Canvas], None],
    height: Callable[[bool], float],
) -> Figure:
    return make_figure(key, words(report), lambda canvas: draw(report, canvas), height)


def _training(report: Report) -> Words:
    last = report.losses[-1]
    width = plots.smoothing_width(report)
    end = plots.running_mean([point.loss for point in report.losses], width)[-1]
    finding = (
        f"Over {count(report.tokens)} tokens the training loss went from "
        f"{significant(report.losses[0].loss)} to {significant(end)} nats per token"
    )
    if report.validations:
        scores = [bits(point.bits_per_byte) for point in report.validations]
        finding += f", and bits per byte on validation text from {scores[0]} to {scores[-1]}"
    note = "Thin line: each step. " if width > 1 else ""
    note += f"Thick line: running mean of {width} points." if width > 1 else "Each step."
    if not report.validations:
        note += " The run had no validation on its way."
    scored = {point.step: bits(point.bits_per_byte) for point in report.validations}
    thin = max(1, -(-len(report.losses) // _TABLE_ROWS))
    shown = {point.step: point for point in report.losses[::thin]} | {last.step: last}
    rows = [
        (f"{step:,}", f"{point.tokens:,}", significant(point.loss, 4), scored.get(step, ""))
        for step, point in shown.items()
    ]
    rows += [
        (f"{point.step:,}", f"{point.tokens:,}", "", bits(point.bits_per_byte))
        for point in report.validations
        if point.step not in shown
    ]
    rows.sort(key=lambda row: int(row[0].replace(",", "")))
    columns = ("Step", "Tokens", "Loss, nats/token", "Validation, bits/byte")
    return Words("Learning", finding + ".", note, columns, rows)


def _held_out(report: Report) -> Words:
    held_out = report.held_out
    better = held_out.fewer_bits_than_xz
    finding = (
        f"On {si(held_out.utf8_bytes, 'B')} of text it never saw the model needs "
        f"{bits(held_out.bits_per_byte)} bits per byte, {percent(abs(better))} "
        f"{'fewer' if better >= 0 else 'more'} than xz -9."
    )
    rows = [
        (name, bits(score), f"{score / held_out.xz_bits_per_byte:.2f}")
        for name, score in plots.held_out_scores(report)
    ]
    columns = ("Predictor", "Bits per byte", "Relative to xz -9")
    note = held_out.meaning
    if held_out.xz_primed_bits_per_byte is not None:
        note += " Primed: xz has read the training text first."
    if held_out.unigram_bits_per_byte is not None or held_out.trigram_bits_per_byte is not None:
        note += " Counts: tables of one or three tokens in a row, made from the training text."
    return Words("Held-out text", finding, note, columns, rows)


def _time(report: Report) -> Words:
    seconds: dict[str, float] = report.seconds_by_category.model_dump()
    total = sum(seconds.values()) or 1.0
    rest = max((name for name in seconds if name != "step"), key=lambda name: seconds[name])
    finding = (
        f"{percent(report.goodput)} of {duration(report.wall_seconds)} went into training steps; "
        f"next comes {plots.TIME_LABELS[rest]} with {duration(seconds[rest])}."
    )
    rows = [
        (plots.TIME_LABELS[name], duration(value), percent(value / total)) for name, value in seconds.items()
    ]
    note = "Wall time of the whole command, as the run's ledger has it."
    return Words("Every second in one category", finding, note, ("Category", "Time", "Share"), rows)


def _throughput(report: Report) -> Words:
    windows = report.speed.windows
    rates = sorted(window.tokens_per_second for window in windows)
    middle = plots.median(rates)
    spread = (rates[-1] - rates[0]) / (middle or 1)
    finding = (
        f"The median of {len(windows)} windows is {significant(middle)} tokens/s; from the slowest to the "
        f"fastest they span {percent(spread)} of it."
    )
    rows = [
        (f"{window.start_step:,}", f"{window.stop_step:,}", significant(window.tokens_per_second))
        for window in windows
    ]
    steps = report.step_seconds
    note = f"One step took {si(steps.median, 's')} (10th to 90th percentile "
    note += f"{si(steps.p10, 's')} to {si(steps.p90, 's')})."
    columns = ("From step", "To before step", "Tokens/s")
    return Words("Throughput over the run", finding, note, columns, rows)


def _matmul(report: Report) -> Words:
    finding = f"Training delivers {si(report.model_flops_per_second, 'FLOP/s')} of model arithmetic"
    if report.measured_peak_share is not None:
        finding += (
            f", {percent(report.measured_peak_share)} of the highest matrix-product rate measured "
            f"in {report.basis.measured_peak_dtype or report.basis.compute_dtype}"
        )
    rows = [
        (
            product.dtype,
            plots.shape_label(product),
            *(
                "unknown" if rate is None else si(rate, "FLOP/s")
                for rate in (product.flops_per_second, product.low, product.high)
            ),
            f"{product.repeats:,}",
        )
        for products in plots.matmul_groups(report).values()
        for product in products
    ]
    columns = ("Format", "m × k × n", "Rate", "Low", "High", "Repeats")
    note = "A product of an m × k with a k × n matrix is m×k×n, and m³ where all are equal. "
    if any(product.low is not None and product.high is not None for product in report.matmul):
        note += "Thin lines: spread of the repeats. "
    note += f"FLOP count: {report.basis.flop_definition}"
    return Words("Arithmetic", finding + ".", note, columns, rows)
