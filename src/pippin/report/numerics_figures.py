"""The figures of the numerics: errors beside tolerances, and the losses of both sides."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pippin.report.drawing import Box, bar, panel
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.numerics import Numerics
from pippin.report.schema import Report
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import MINUS, significant

# Errors are drawn on a scale of powers of ten of their tolerance, from here to here.
_LOWEST, _HIGHEST = -3.0, 3.0
_HEAD = 30


def numerics_figures(report: Report) -> list[Figure]:
    """Errors by operation and layer; the short runs, where there were any. Nothing without the section."""
    numerics = report.numerics
    if numerics is None:
        return []
    rows = _ratios(numerics)
    figures = [
        make_figure(
            "numerics-errors",
            _errors(numerics),
            lambda canvas: _draw_errors(rows, canvas),
            lambda narrow: _HEAD + len(rows) * _row_height(narrow) + 10,
        )
    ]
    if numerics.runs:
        figures.append(
            make_figure(
                "numerics-runs",
                _runs(numerics),
                lambda canvas: _draw_runs(numerics, canvas),
                lambda narrow: 520 if narrow else 300,
            )
        )
    return figures


def _ratios(numerics: Numerics) -> list[tuple[str, float]]:
    """The largest error over tolerance of each operation, and of each layer's output and gradients."""
    largest: dict[str, float] = {}

    def note(label: str, error: float, tolerance: float) -> None:
        largest[label] = max(largest.get(label, 0.0), error / tolerance if tolerance else math.inf)

    for row in numerics.operations:
        note(row.operation, row.error, row.tolerance)
        note(row.operation, row.worst, row.worst_tolerance)
    for whole in numerics.whole_products:
        if whole.wrong:
            note(whole.operation, math.inf, 1)
    for layer in numerics.layers:
        kind = "output" if layer.quantity == "output" else "gradients"
        note(f"model: {layer.layer}, {kind}", layer.error, layer.tolerance)
    return list(largest.items())


def _errors(numerics: Numerics) -> Words:
    wrong = sum(row.wrong for row in numerics.whole_products)
    elements = sum(row.elements for row in numerics.whole_products)
    finding = numerics.verdict
    if numerics.failures:
        finding += " Found: " + ". ".join(numerics.failures[:3]) + "."
    note = (
        "Bars: the largest error over its tolerance, in powers of ten; what ends beyond the line is too far. "
        f"Of {elements:,} whole numbers in matrix products {wrong:,} came out wrong. "
        f"Compared with: {numerics.reference}"
    )
    rows = [
        (row.operation, row.part, *map(_power, (row.error, row.tolerance, row.worst, row.worst_tolerance)))
        for row in numerics.operations
    ]
    rows += [
        (row.operation, f"{row.part}, whole numbers", f"{row.wrong:,} wrong", "0", "", "")
        for row in numerics.whole_products
    ]
    rows += [
        (f"model: {row.layer}", row.quantity, _power(row.error), _power(row.tolerance), "", "")
        for row in numerics.layers
    ]
    columns = ("Where", "What", "Error", "Tolerance", "Worst element", "Tolerance of it")
    return Words("Errors against the reference", finding, note, columns, rows)


def _power(value: float) -> str:
    return f"{value:.1e}".replace("-", MINUS)


def _row_height(narrow: bool) -> int:
    return 36 if narrow else 20


def _draw_errors(rows: list[tuple[str, float]], canvas: Canvas) -> None:
    left = 0.0 if canvas.narrow else 300.0
    full = canvas.width - left - 90
    limit = left + full * -_LOWEST / (_HIGHEST - _LOWEST)
    height = _row_height(canvas.narrow)
    small = {"fontsize": SMALL_PX}
    canvas.text(limit, 10, "tolerance", ha="center", color=colour("muted"), **small)
    bar(canvas, limit - 0.5, 20, 1, len(rows) * height + 12, "muted")
    for index, (label, ratio) in enumerate(rows):
        top = _HEAD + index * height
        power = math.log10(ratio) if 0 < ratio < math.inf else (_HIGHEST if ratio else _LOWEST)
        length = full * (min(max(power, _LOWEST + 0.05), _HIGHEST) - _LOWEST) / (_HIGHEST - _LOWEST)
        beyond = ratio > 1
        place = top + 18 if canvas.narrow else top
        bar(canvas, left, place + 3, length, 12, "second" if beyond else "model")
        weight = {"fontweight": "bold"} if beyond else {}
        where = (0.0, top + 9, "left") if canvas.narrow else (left - 10, top + 9, "right")
        canvas.text(where[0], where[1], label, ha=where[2], **small, **weight)
        said = "wrong" if ratio == math.inf else f"{significant(ratio, 2)} ×"
        canvas.text(canvas.width - 8, place + 9, said, ha="right", **small, **weight)


def _runs(numerics: Numerics) -> Words:
    found = numerics.equivalence
    finding = f"Short runs from {found.seeds} seeds: {found.verdict or 'cannot tell'}"
    if found.mean is not None and found.low is not None and found.high is not None:
        finding += (
            f". At the end the loss on the chip is {_signed(found.mean)} nats a token from the reference's, "
            f"90 % interval {_signed(found.low)} to {_signed(found.high)}; {found.margin:g} counts as none"
        )
    same = "the same bits" if numerics.determinism.identical else "not the same bits"
    repeats = numerics.repeats
    note = (
        f"{found.steps} steps each; the last {found.last_steps} are averaged. The first run, repeated, gave "
        f"{same}. A fixed computation was repeated {repeats.repeats:,} times over "
        f"{significant(repeats.over_seconds)} s, {repeats.during_training:,} times in mid-training, and went "
        f"wrong {repeats.wrong:,} times"
    )
    if repeats.error_rate_below is not None:
        oftener = f"one repeat of {1 / repeats.error_rate_below:,.0f}"
        note += f": errors oftener than in {oftener} are ruled out at 95 %"
    rows = [
        (f"{run.seed}", f"{step}", significant(chip, 5), significant(reference, 5), _signed(chip - reference))
        for run in numerics.runs
        for step, (chip, reference) in enumerate(zip(run.chip, run.reference, strict=True), 1)
    ]
    columns = ("Seed", "Step", "Chip, nats/token", "Reference, nats/token", "Difference")
    return Words("Short runs on both sides", finding + ".", note + ".", columns, rows)


def _signed(value: float) -> str:
    return f"{value:+.1e}".replace("-", MINUS)


def _draw_runs(numerics: Numerics, canvas: Canvas) -> None:
    first, second = _halves(canvas)
    axes = panel(canvas, first, "Loss, nats per token (reference: broad)", x_label="step")
    for run in numerics.runs:
        steps = range(1, len(run.chip) + 1)
        axes.plot(steps, run.reference, color=colour("other"), linewidth=4)
        axes.plot(steps, run.chip, color=colour("model"), linewidth=1)
    margin = numerics.equivalence.margin
    axes = panel(canvas, second, "Chip less reference, parts of the margin", x_label="step")
    for run in numerics.runs:
        pairs: Iterable[tuple[float, float]] = zip(run.chip, run.reference, strict=True)
        axes.plot(steps, [(a - b) / margin for a, b in pairs], color=colour("model"), linewidth=1)
    for side in (-1, 1):
        axes.axhline(side, color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -1.2), max(high, 1.2))


def _halves(canvas: Canvas) -> tuple[Box, Box]:
    if canvas.narrow:
        half = canvas.height / 2
        return (0, 0, canvas.width, half), (0, half, canvas.width, half)
    half = (canvas.width - 36) / 2
    return (0, 0, half, canvas.height), (half + 36, 0, half, canvas.height)
