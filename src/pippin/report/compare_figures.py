"""The figures of a comparison: the windows of both sides, and the ratios with their intervals."""

from __future__ import annotations

import math

from pippin.report.comparison import Comparison
from pippin.report.drawing import bar, panel
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.sides import Side
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import significant
from pippin.report.verdict import interval, named, times

_ROW, _HEAD = 62, 34
_COLOURS = ("model", "second")


def make_figures(found: Comparison, a: Side, b: Side) -> list[Figure]:
    """Both figures, in the order of the page."""
    height = _HEAD + _ROW * len(found.ratios) + 30
    return [
        make_figure("ratios", _ratios(found), lambda canvas: _draw_ratios(canvas, found), lambda _: height),
        make_figure("windows", _windows(a, b), lambda canvas: _draw_windows(canvas, a, b), lambda _: 270),
    ]


def _ratios(found: Comparison) -> Words:
    rows = [
        (
            named(key),
            times(ratio.ratio),
            interval(ratio) or "none",
            significant(ratio.a),
            significant(ratio.b),
            ratio.unit,
        )
        for key, ratio in found.ratios.items()
    ]
    note = "B over A: above 1, B is better. Line: 95 % interval. A point without a line has none."
    columns = ("Basis", "B over A", "95 % interval", "A", "B", "Unit")
    told = [named(key) for key, ratio in found.ratios.items() if ratio.can_tell]
    finding = f"{len(told)} of {len(found.ratios)} ratios can be told from 1"
    finding += f": {', '.join(told)}." if told else "."
    return Words("B over A", finding, note, columns, rows)


def _draw_ratios(canvas: Canvas, found: Comparison) -> None:
    """A row for each basis on one logarithmic scale, with a line at 1."""
    ends = [end for r in found.ratios.values() for end in (r.low, r.ratio, r.high) if end]
    reach = 1.15 * max(abs(math.log(end)) for end in [*ends, 1.02])
    middle, half = canvas.width / 2, canvas.width / 2 - 30

    def place(value: float) -> float:
        return middle + half * math.log(value) / reach

    bottom = _HEAD + _ROW * len(found.ratios)
    canvas.text(middle, bottom + 16, "1: as good as A", ha="center", fontsize=SMALL_PX, color=colour("muted"))
    canvas.text(0, bottom + 16, "A better", fontsize=SMALL_PX, color=colour("muted"))
    canvas.text(canvas.width, bottom + 16, "B better", ha="right", fontsize=SMALL_PX, color=colour("muted"))
    for index, (key, ratio) in enumerate(found.ratios.items()):
        y = _HEAD + _ROW * index
        name = "model" if ratio.can_tell else "muted"
        ends_text = interval(ratio)
        label = f"{times(ratio.ratio)} ({ends_text})" if ends_text else f"{times(ratio.ratio)}, no interval"
        canvas.text(0, y - 18 if canvas.narrow else y - 12, named(key), fontsize=SMALL_PX)
        at, align = (0, "left") if canvas.narrow else (canvas.width, "right")
        canvas.text(
            at, y - 3 if canvas.narrow else y - 12, label, ha=align, fontweight="bold", fontsize=SMALL_PX
        )
        bar(canvas, 0, y + 9.5, canvas.width, 1, "grid")
        bar(canvas, middle - 0.75, y + 2, 1.5, 24, "muted")
        if ratio.low is not None and ratio.high is not None:
            bar(canvas, place(ratio.low), y + 8, place(ratio.high) - place(ratio.low), 4, name)
        bar(canvas, place(ratio.ratio) - 4, y + 2, 8, 16, name)


def _windows(a: Side, b: Side) -> Words:
    spans = []
    for side in (a, b):
        rates = [window.tokens_per_second for report in side.reports for window in report.speed.windows]
        spans.append(
            f"{side.label}'s {len(rates)} windows go from {significant(min(rates))} to "
            f"{significant(max(rates))} tokens/s"
        )
    rows = [
        (
            f"{side.label}, run {number}",
            f"{window.start_step:,}",
            f"{window.stop_step:,}",
            f"{window.seconds:.2f}",
            significant(window.tokens_per_second),
        )
        for side in (a, b)
        for number, report in enumerate(side.reports, 1)
        for window in report.speed.windows
    ]
    note = "Each bar is a window of steps that follow one another; A is drawn thicker. Runs start at 0."
    columns = ("Run", "From step", "To before step", "Seconds", "Tokens/s")
    return Words("Speed in the windows", " and ".join(spans) + ".", note, columns, rows)


def _draw_windows(canvas: Canvas, a: Side, b: Side) -> None:
    """Rates over the minutes since each run's first window, from zero."""
    box = (0, 0, canvas.width, canvas.height)
    axes = panel(canvas, box, "Tokens per second", x_label="minutes of training")
    most_minutes = most = 0.0
    for side, name, width in ((a, _COLOURS[0], 6.0), (b, _COLOURS[1], 3.0)):
        for report in side.reports:
            windows = report.speed.windows
            begun = windows[0].start_seconds
            rates = [window.tokens_per_second for window in windows]
            left = [(window.start_seconds - begun) / 60 for window in windows]
            right = [(window.end_seconds - begun) / 60 for window in windows]
            axes.hlines(rates, left, right, color=colour(name), linewidth=width)
            most, most_minutes = max(most, *rates), max(most_minutes, *right)
        axes.plot([], [], color=colour(name), linewidth=width, label=side.label)
    axes.set_xlim(0, 1.02 * most_minutes)
    axes.set_ylim(0, 1.25 * most)
    axes.legend(loc="lower right", frameon=False, fontsize=SMALL_PX, labelcolor=colour("ink"), ncols=2)
