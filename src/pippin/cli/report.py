"""`pippin report`: the page of one assay drawn anew, and a folder of many as a local site."""

from __future__ import annotations

import signal
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

from pippin import __version__
from pippin.errors import PippinError
from pippin.report.folders import PAGE, open_report
from pippin.report.page import write_page
from pippin.report.serving import Server, open_site
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


def serve(folder: Path, port: int, *, open_page: bool) -> None:
    """Serves a folder until Ctrl-C, or until it is told to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    site = open_site(folder, __version__)
    with Server(site, port) as server:
        print(f"{folder} at {server.address} on this machine alone; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            if open_page:
                _show_if_can(server.address)
            server.serve_forever()


def _show_if_can(address: str) -> None:
    # Whoever reads the address that was printed can do without.
    try:
        show(address)
    except PippinError as error:
        print(f"pippin: {error}", file=sys.stderr, flush=True)
