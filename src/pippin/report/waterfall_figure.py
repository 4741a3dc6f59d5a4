"""The waterfall on the page: from the arithmetic at the peak to the delivered tokens, a bar for each loss."""

from __future__ import annotations

from pippin.report.drawing import bar
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.schema import Report
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import MINUS, SPACE, duration, percent, si, significant
from pippin.report.waterfall import Waterfall, WaterfallBar

# Shorter than this share of the whole a bar is in the table alone.
_SHOWN_SHARE = 0.002
_ROW = 27
_OWN = {"arithmetic": "model", "unexplained": "second"}


def waterfall_figure(report: Report) -> list[Figure]:
    """The figure, or none where it was not measured."""
    fall = report.waterfall
    if fall is None:
        return []
    rows = _shown(fall)
    height = _ROW * (len(rows) + 1) + 8
    return [
        make_figure(
            "waterfall",
            _words(fall, report.step_seconds.median),
            lambda canvas: _draw(fall, rows, canvas),
            lambda _: height,
        )
    ]


def seconds_text(seconds: float) -> str:
    """A length of time that may be negative."""
    return MINUS + duration(-seconds) if seconds < 0 else duration(seconds)


def _shown(fall: Waterfall) -> list[WaterfallBar]:
    return [bar for bar in fall.bars if abs(bar.seconds or 0.0) >= _SHOWN_SHARE * fall.whole_seconds]


def largest_losses(fall: Waterfall) -> str:
    """Up to three by name, each with its share of the whole."""
    losses = [(bar.seconds, bar.title) for bar in fall.bars[1:] if bar.seconds and bar.key != "unexplained"]
    return ", ".join(
        f"{title[0].lower()}{title[1:]} ({percent(seconds / fall.whole_seconds)})"
        for seconds, title in sorted(losses, reverse=True)[:3]
        if seconds > 0
    )


def waterfall_finding(fall: Waterfall) -> str:
    """Where the time went, in a line."""
    first = (fall.bars[0].seconds or 0.0) / fall.whole_seconds
    return (
        f"{percent(first)} arithmetic at the {fall.begins_at}; most lost to {largest_losses(fall)}; "
        f"{percent(fall.unexplained_share)} unexplained"
    )


def _words(fall: Waterfall, median: float) -> Words:
    first = fall.bars[0].seconds or 0.0
    finding = (
        f"Of {duration(fall.whole_seconds)} of training the arithmetic alone would take {duration(first)} at "
        f"the {fall.begins_at}, {si(fall.rate_flops_per_second, 'FLOP/s')}; most of the rest went into "
        f"{largest_losses(fall)}; {percent(fall.unexplained_share)} of it and "
        f"{percent(fall.unexplained_step_share)} of its steps' time are unexplained."
    )
    note = (
        f"From {significant(fall.tokens_per_second_at_peak)}{SPACE}tokens/s at the {fall.begins_at} to "
        f"{significant(fall.tokens_per_second)}{SPACE}tokens/s delivered. Losses in the step are what the "
        f"profiler saw in {fall.rounds:,} groups of steps spread over the run, those around it spans of the "
        "ledger; unexplained is not measured but left over. The assay's own measuring "
        f"({duration(fall.own_seconds)}) is in no bar."
    )
    if fall.step_seconds is not None:
        note += f" A traced step took {si(fall.step_seconds, 's')}, the median step {si(median, 's')}."
    if fall.begins_at == "measured rate":
        note += " No peak is published for this chip, so the fall begins at the matrix rate measured on it."
    columns = ("Part", "Time", "Share", "Interval", "How it was measured")
    return Words(
        "From the peak to the tokens", finding, note, columns, [_row(bar, fall) for bar in fall.bars]
    )


def _row(bar: WaterfallBar, fall: Waterfall) -> tuple[str, ...]:
    if bar.seconds is None:
        return bar.title, "unknown", "", "", bar.method
    interval = ""
    if bar.low is not None and bar.high is not None:
        interval = f"{seconds_text(bar.low)} to {seconds_text(bar.high)}"
    return (
        bar.title,
        seconds_text(bar.seconds),
        percent(bar.seconds / fall.whole_seconds),
        interval,
        bar.method,
    )


def _draw(fall: Waterfall, rows: list[WaterfallBar], canvas: Canvas) -> None:
    """Each bar begins where the one before it ended; a negative one goes back."""
    left = 136 if canvas.narrow else 216
    room = 52 if canvas.narrow else 104
    scale = (canvas.width - left - room) / max(_extent(fall), 1e-9)
    begin = 0.0
    places = {bar.key: 0.0 for bar in fall.bars}
    for part in fall.bars:
        places[part.key] = begin
        begin += part.seconds or 0.0
    for index, part in enumerate(rows):
        seconds = part.seconds or 0.0
        start = left + scale * min(places[part.key], places[part.key] + seconds)
        length = max(scale * abs(seconds), 1.0)
        name = _OWN.get(part.key, "other")
        _label(canvas, index, part.title, _value(seconds, fall, canvas.narrow), left, start, length, name)
    _label(canvas, len(rows), "Training", duration(fall.whole_seconds), left, left,
           scale * fall.whole_seconds, "model")  # fmt: skip


def _extent(fall: Waterfall) -> float:
    """Furthest end of any bar, in seconds."""
    furthest, end = fall.whole_seconds, 0.0
    for part in fall.bars:
        end += part.seconds or 0.0
        furthest = max(furthest, end)
    return furthest


def _value(seconds: float, fall: Waterfall, narrow: bool) -> str:
    share = percent(seconds / fall.whole_seconds)
    return share if narrow else f"{seconds_text(seconds)} · {share}"


def _label(
    canvas: Canvas, index: int, title: str, value: str, left: float, start: float, length: float, name: str
) -> None:
    y = _ROW * index + 4
    bar(canvas, start, y, length, 18, name)
    short = title if not canvas.narrow or len(title) <= 17 else title[:16] + "…"
    canvas.text(left - 10, y + 9, short, ha="right", fontsize=SMALL_PX)
    # Beside the bar, to its left where there is no room on its right.
    fits = start + length + 8 + 6.6 * len(value) <= canvas.width
    place = {"x": start + length + 6} if fits else {"x": start - 6}
    within = not fits and start - 6 - 6.6 * len(value) < left
    if within:
        canvas.text(start + length - 6, y + 9, value, ha="right", fontsize=SMALL_PX, color=colour("paper"))
    else:
        canvas.text(place["x"], y + 9, value, ha="left" if fits else "right", fontsize=SMALL_PX)
