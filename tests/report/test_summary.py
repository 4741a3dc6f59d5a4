"""The line of the summary that says where the time went."""

from __future__ import annotations

from pathlib import Path

from pippin.report.schema import Report
from pippin.report.summary import summary
from pippin.report.units import SPACE


def time_line(report: Report) -> str:
    lines = dict(text.strip().split("  ", 1) for text in summary(report, Path("out")).splitlines())
    return lines["time"].replace(SPACE, " ")


def test_the_largest_losses_are_named_with_their_shares(known: Report) -> None:
    named = "most lost to attention (25 %), input (3.7 %)"
    assert time_line(known) == f"74 % arithmetic at the rated peak; {named}; 2.5 % unexplained"


def test_without_a_waterfall_its_reason_stands_there(known: Report) -> None:
    unknown = {**known.unknown, "waterfall": "measured only with --full"}
    report = Report.model_construct(**{**dict(known), "waterfall": None, "unknown": unknown})
    assert time_line(report) == "measured only with --full"
