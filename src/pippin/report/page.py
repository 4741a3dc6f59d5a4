"""The page of one assay: a single HTML file that holds its data and loads nothing."""

from __future__ import annotations

from pathlib import Path

from pippin.report.chapters import make_chapters
from pippin.report.downloads import make_downloads
from pippin.report.figures import make_figures
from pippin.report.folders import PAGE, REPORT
from pippin.report.html import render_template
from pippin.report.listing import list_groups
from pippin.report.schema import Report
from pippin.report.wording import basis_line, chip_line, headline, tiles
from pippin.storage import write_atomic


def render_page(report: Report) -> str:
    """The HTML page. All text of the report is escaped; the same report gives the same page."""
    groups = list_groups(report)
    return render_template(
        "pippin.report",
        "report.html.j2",
        report=report,
        version=report.pippin_version,
        command=report.command,
        headline=headline(report),
        basis=basis_line(report),
        chip_facts=chip_line(report),
        tiles=tiles(report),
        chapters=make_chapters(make_figures(report)),
        groups=groups,
        downloads=make_downloads(report, groups),
    )


def prepare() -> None:
    """Loads what drawing needs (most of a second), for a caller that counts the time."""
    from pippin.report.svg import render

    render("prepare", 1, 1, lambda canvas: None)


def write_report(report: Report, folder: Path) -> None:
    """Writes `report.json` and `report.html` into the folder, each whole or not at all.

    Raises:
        PippinError: the file system refused.
    """
    page = render_page(report)
    write_atomic(folder / REPORT, report.to_json())
    write_atomic(folder / PAGE, page)


def write_page(report: Report, folder: Path) -> None:
    """Writes `report.html` alone, whole or not at all.

    Raises:
        PippinError: the file system refused.
    """
    write_atomic(folder / PAGE, render_page(report))
