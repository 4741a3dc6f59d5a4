"""The figure of the price bases."""

from __future__ import annotations

from pippin.report.price_figure import figures
from pippin.report.schema import Report
from pippin.report.units import dollars


def test_every_price_has_its_bar_and_its_basis(known: Report) -> None:
    (figure,) = figures(known)
    assert figure.wide.count("<path") >= 3
    names = [row[0] for row in figure.rows]
    assert names == ["on demand, the whole machine", "spot, c7a.large", "on demand, c7a.large"]
    spot = dict(zip(figure.columns, figure.rows[1], strict=True))
    assert spot["A million tokens"] == dollars(0.041 * 1e6 / 3600 / known.tokens_per_second)
    assert (spot["Region"], spot["Date"], spot["Source"]) == ("us-east-1", "2026-08-14", "made up")
    assert spot["A million tokens"] in figure.finding


def test_without_a_price_there_is_no_figure(unknown: Report) -> None:
    assert figures(unknown) == []
