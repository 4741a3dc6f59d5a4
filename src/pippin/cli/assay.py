"""`pippin assay`."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import typer

from pippin.assay.assay import assay, default_folder
from pippin.assay.findings import Request
from pippin.cli.display import Display
from pippin.report.summary import summary
from pippin.train.signals import Interrupted


def run(request: Request, out: Path | None, *, as_json: bool, begun: float) -> None:
    """Assays and prints the summary, or the whole report as JSON."""
    folder = out or default_folder(datetime.datetime.now())
    try:
        with Display(sys.stderr) as display:
            report = assay(request, folder, display, begun=begun)
    except Interrupted as stop:
        print(f"pippin: {stop}", file=sys.stderr, flush=True)
        raise typer.Exit(stop.exit_status) from stop
    print(report.to_json() if as_json else summary(report, folder), end="" if as_json else "\n")
