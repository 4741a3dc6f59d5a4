"""The figure of the price bases: what a million tokens costs at every price that the report was made with."""

from __future__ import annotations

from dataclasses import dataclass

from pippin.report.drawing import bar
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.schema import Report
from pippin.report.svg import SMALL_PX, Canvas
from pippin.report.units import dollars

_ROW, _NARROW_ROW = 34, 50


@dataclass(frozen=True)
class _Basis:
    """A price and what a million tokens costs at it, in the training steps."""

    kind: str
    what: str
    region: str
    date: str
    source: str
    usd_per_hour: float
    usd_per_million: float


def figures(report: Report) -> list[Figure]:
    """The figure, or none where no price is known."""
    bases = _bases(report)
    if not bases:
        return []
    return [
        make_figure(
            "price-bases",
            _words(bases),
            lambda canvas: _draw(canvas, bases),
            lambda narrow: len(bases) * (_NARROW_ROW if narrow else _ROW) + 6,
        )
    ]


def _bases(report: Report) -> list[_Basis]:
    """The user's price first, then the catalog's from the cheapest to the dearest."""
    tokens_per_hour = 3600 * report.tokens_per_second
    if not tokens_per_hour:
        return []
    price, found = report.price, []
    if price.usd_per_hour:
        found.append(
            _Basis(
                price.kind or "as given",
                price.scope,
                price.region or "not stated",
                price.date or "not stated",
                price.source or "not stated",
                price.usd_per_hour,
                1e6 * price.usd_per_hour / tokens_per_hour,
            )
        )
    rows = [
        _Basis(
            row.basis,
            row.instance,
            row.region,
            row.date,
            row.source,
            row.usd_per_hour,
            1e6 * row.usd_per_hour / tokens_per_hour,
        )
        for row in price.catalog or ()
    ]
    return found + sorted(rows, key=lambda basis: basis.usd_per_million)


def _words(bases: list[_Basis]) -> Words:
    low = min(bases, key=lambda basis: basis.usd_per_million)
    high = max(bases, key=lambda basis: basis.usd_per_million)
    finding = f"A million tokens cost {dollars(low.usd_per_million)} ({low.kind}, {low.what})"
    if len(bases) > 1:
        finding += f" to {dollars(high.usd_per_million)} ({high.kind}, {high.what})"
    rows = [
        (
            f"{basis.kind}, {basis.what}",
            dollars(basis.usd_per_million),
            dollars(basis.usd_per_hour),
            basis.region,
            basis.date,
            basis.source,
        )
        for basis in bases
    ]
    note = "In the training steps, for the chips that were measured: their share, where a box has more."
    columns = ("Price", "A million tokens", "An hour", "Region", "Date", "Source")
    return Words("Price bases", finding + ".", note, columns, rows)


def _draw(canvas: Canvas, bases: list[_Basis]) -> None:
    left = 0 if canvas.narrow else 300
    row = _NARROW_ROW if canvas.narrow else _ROW
    full = canvas.width - left - 80
    most = max(basis.usd_per_million for basis in bases)
    for index, basis in enumerate(bases):
        top = index * row + (24 if canvas.narrow else 8)
        length = full * basis.usd_per_million / most
        bar(canvas, left, top, length, 18, "model")
        name = f"{basis.what}, {basis.kind}"
        short = name if len(name) <= 44 else name[:43] + "…"
        if canvas.narrow:
            canvas.text(0, top - 11, short, fontsize=SMALL_PX)
        else:
            canvas.text(left - 14, top + 9, short, ha="right", fontsize=SMALL_PX)
        canvas.text(left + length + 8, top + 9, dollars(basis.usd_per_million), fontsize=SMALL_PX)
