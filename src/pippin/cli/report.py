"""`pippin report`: the page of one assay drawn anew, and a folder of many as a local site."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from pippin.errors import PippinError
from pippin.report.folders import PAGE, open_report
from pippin.report.page import write_page
from pippin.report.summary import summary


def run(place: Path, *, open_page: bool) -> None:
    """Draws `report.html` from `report.json`, prints the summary, and shows the page where asked."""
    report, folder = open_report(place)
    write_page(report, folder)
    print(summary(report, folder), flush=True)
    if open_page:
        show((folder / PAGE).resolve().as_uri())


def show(address: str) -> None:
    """Opens an address in the user's browser.

    Raises:
        PippinError: there is none that this machine knows of.
    """
    try:
        opened = webbrowser.open(address)
    except webbrowser.Error:
        opened = False
    if not opened:
        raise PippinError("no browser found here", where=address, fix="open this address in one")
