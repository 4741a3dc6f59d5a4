"""The figures of the projection: days and dollars of the target on every fleet, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pippin.report.drawing import bar
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.projection import ProjectedCost, ProjectedFleet, Projection
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import count, percent, si, significant

_ROW, _FOOT, _YEAR = 46, 30, 365.25


@dataclass(frozen=True)
class Mark:
    """A value with its interval beside a label; `own` where it is of the machine that was measured."""

    label: str
    text: str
    low: float
    value: float
    high: float
    own: bool


def figures(said: Projection | None) -> list[Figure]:
    """Time, and cost where any price is known; none where nothing was projected."""
    if said is None or not said.fleets:
        return []
    found = [_figure("projection-days", _days_words(said), [_days_mark(fleet) for fleet in said.fleets])]
    marks = [mark for cost in said.costs if (mark := _cost_mark(cost, said))]
    if marks:
        found.append(_figure("projection-price", _cost_words(said), marks))
    return found


def _figure(key: str, words: Words, marks: Sequence[Mark]) -> Figure:
    def height(narrow: bool) -> float:
        return _FOOT + _ROW * len(marks)

    tick = _usd if key == "projection-price" else _days_tick
    return make_figure(key, words, lambda canvas: _draw(marks, canvas, tick), height)


def days_words(days: float) -> str:
    """Days as people say them: years from two on."""
    return f"{significant(days)} days" if days < 2 * _YEAR else f"{significant(days / _YEAR)} years"


def _days_tick(days: float) -> str:
    return f"{count(days)} days"


def _usd(value: float) -> str:
    return f"${si(value, '').replace('G', 'B').strip()}" if value >= 1e5 else f"${significant(value)}"


def _ends(low: float, high: float | None, text: Callable[[float], str]) -> str:
    return f"{text(low)} to {text(high) if high is not None else 'no bound'}"


def _days_mark(fleet: ProjectedFleet) -> Mark:
    text = f"{days_words(fleet.days)} ({_ends(fleet.days_low, fleet.days_high, days_words)})"
    label = f"{fleet.fleet}, {fleet.chips:,} {fleet.chip}" if fleet.chips > 1 else fleet.fleet
    if not fleet.fits:
        label += ", if its memory held the model"
    high = fleet.days_high if fleet.days_high is not None else fleet.days
    return Mark(label, text, fleet.days_low, fleet.days, high, fleet.measured)


def _cost_mark(cost: ProjectedCost, said: Projection) -> Mark | None:
    if cost.usd is None or cost.usd_low is None:
        return None
    high = cost.usd_high if cost.usd_high is not None else cost.usd
    own = next(fleet.measured for fleet in said.fleets if fleet.fleet == cost.fleet)
    text = f"{_usd(cost.usd)} ({_ends(cost.usd_low, cost.usd_high, _usd)})"
    return Mark(f"{cost.fleet}: {_basis(cost)}", text, cost.usd_low, cost.usd, high, own)


def _basis(cost: ProjectedCost) -> str:
    """Kind, region and date of a price, with its term and what it stands in for."""
    more = [cost.term, "stand-in" if cost.source.startswith("stand-in") else ""]
    kind = f"{cost.kind} ({', '.join(filter(None, more))})" if any(more) else cost.kind
    return f"{kind}, {cost.region}, {cost.date}"


def projection_finding(said: Projection) -> str:
    """How long the target takes here and on the fastest of the others, in a sentence without its stop."""
    others = [fleet for fleet in said.fleets if not fleet.measured]
    finding = (
        f"{said.target} ({count(said.target_parameters)} parameters, {count(said.target_tokens)} tokens)"
    )
    own = next((fleet for fleet in said.fleets if fleet.measured), None)
    if own:
        held = "" if own.fits else ", if its memory held the model"
        finding += f" would take {days_words(own.days)} on {own.fleet}{held}"
    if others:
        best = min(others, key=lambda fleet: fleet.days)
        finding += f"{', and' if own else ' would take'} {days_words(best.days)} on {best.fleet} "
        finding += f"({best.chips:,} chips)" + (", the fastest of the others" if len(others) > 1 else "")
    return finding


def _days_words(said: Projection) -> Words:
    rows = [
        (
            fleet.fleet,
            f"{fleet.chips:,} {fleet.chip}",
            f"{days_words(fleet.days)} ({_ends(fleet.days_low, fleet.days_high, days_words)})",
            f"{significant(fleet.tokens_per_second)}",
            "unknown"
            if fleet.goodput is None or fleet.goodput_low is None
            else f"{percent(fleet.goodput)} ({_ends(fleet.goodput_low, fleet.goodput_high, percent)})",
            "unknown" if fleet.mfu is None else percent(fleet.mfu),
            "unknown" if fleet.joules is None else si(fleet.joules, "J"),
            fleet.evidence,
        )
        for fleet in said.fleets
    ]
    rows += [(each.fleet, "", "cannot", "", "", "", "", each.reason) for each in said.refused]
    columns = (
        "Fleet",
        "Chips",
        "Time (interval)",
        "Tokens/s",
        "Goodput (interval)",
        "MFU",
        "Energy",
        "Rests on",
    )
    note = (
        f"{said.meaning} Batch: {said.global_batch:,} sequences of {said.target_sequence_length:,} tokens "
        f"({said.batch_basis}). Tokens: {said.target_tokens_basis}. Lines: intervals, {said.interval}. "
        "Logarithmic scale."
    )
    return Words("Projection: time", f"{projection_finding(said)}.", note, columns, rows)


def _cost_words(said: Projection) -> Words:
    known = [cost for cost in said.costs if cost.usd is not None]
    low = min(known, key=lambda cost: cost.usd or 0.0)
    high = max(known, key=lambda cost: cost.usd or 0.0)
    finding = (
        f"The same training costs from {_usd(low.usd or 0.0)} ({low.fleet}, {_basis(low)}) to "
        f"{_usd(high.usd or 0.0)} ({high.fleet}, {_basis(high)}), by {len(known)} prices."
    )
    rows = [
        (
            cost.fleet,
            f"{cost.provider} {cost.instance}".strip() or "unknown",
            _basis(cost) if cost.usd is not None else cost.kind,
            _usd_words(cost.usd, cost.usd_low, cost.usd_high),
            _usd_words(
                cost.usd_per_million_tokens, cost.usd_per_million_tokens_low, cost.usd_per_million_tokens_high
            ),
            cost.source,
        )
        for cost in said.costs
    ]
    columns = ("Fleet", "Instance", "Price", "Cost (interval)", "Of a million tokens (interval)", "Source")
    note = (
        f"{said.meaning} Whole instances are paid for, spares with them; the interval is that of the time "
        "alone. Logarithmic scale. Prices of different kinds are no comparison of chips."
    )
    return Words("Projection: cost", finding, note, columns, rows)


def _usd_words(value: float | None, low: float | None, high: float | None) -> str:
    return "unknown" if value is None or low is None else f"{_usd(value)} ({_ends(low, high, _usd)})"


def _draw(marks: Sequence[Mark], canvas: Canvas, tick: Callable[[float], str]) -> None:
    """A line for each, on one logarithmic scale from a decade to a decade, named where there is room."""
    low = 10.0 ** math.floor(math.log10(min(mark.low for mark in marks)))
    high = 10.0 ** math.ceil(math.log10(max(mark.high for mark in marks)))
    width, decades = canvas.width - 16, max(math.log10(high / low), 1.0)

    def place(value: float) -> float:
        return 8 + width * math.log10(value / low) / decades

    powers = [low * 10.0**power for power in range(round(decades) + 1)]
    _name_decades(canvas, [(place(value), tick(value)) for value in powers])
    for index, mark in enumerate(marks):
        y = 10 + _ROW * index
        name = "model" if mark.own else "muted"
        label = mark.label if not canvas.narrow or len(mark.label) < 47 else mark.label[:45] + "…"
        canvas.text(0, y, label, fontsize=SMALL_PX)
        canvas.text(0, y + 15, mark.text, fontsize=SMALL_PX, color=colour("muted"))
        bar(canvas, 0, y + 28, canvas.width, 1, "grid")
        for value in powers:
            bar(canvas, place(value), y + 23, 1, 11, "grid")
        bar(canvas, place(mark.low), y + 27, max(place(mark.high) - place(mark.low), 2), 3, name)
        bar(canvas, place(mark.value) - 3, y + 23, 6, 11, name)


_NAME_PX = 84  # what the name of a decade takes, with some room


def _name_decades(canvas: Canvas, places: Sequence[tuple[float, str]]) -> None:
    """The names of decades below, from the left, as many as do not run into one another."""
    free = 0.0
    for x, text in places:
        left = min(max(x - _NAME_PX / 2, 0), canvas.width - _NAME_PX)
        if left < free:
            continue
        free = left + _NAME_PX
        align = "left" if left == 0 else "right" if free == canvas.width else "center"
        at = {"left": 0.0, "right": canvas.width, "center": x}[align]
        canvas.text(at, canvas.height - 10, text, fontsize=SMALL_PX, color=colour("muted"), ha=align)
