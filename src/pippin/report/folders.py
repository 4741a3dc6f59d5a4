"""Where reports lie: the folder of one assay, or a folder that holds many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pippin.errors import PippinError
from pippin.report.schema import Report, load_report

REPORT, PAGE = "report.json", "report.html"
# Folders below the one that is searched. An assay's own folder is not searched any further.
_DEPTH = 4


def open_report(place: Path) -> tuple[Report, Path]:
    """The report of an assay, and the folder that holds it.

    Args:
        place: the assay's folder, or its `report.json`.

    Raises:
        PippinError: there is no report, or it cannot be used; says what there is instead.
    """
    file = place if place.name == REPORT and not place.is_dir() else place / REPORT
    if place.exists() and not place.is_dir() and file != place:
        raise PippinError("not an assay", where=place, fix="give the folder of an assay, or its report.json")
    if place.is_dir() and not file.exists():
        below = next(find_reports(place), None)
        fix = "it holds assays: " if below else "an assay makes one: "
        fix += f"pippin report serve {place}" if below else "pippin assay --out DIR"
        raise PippinError(f"no {REPORT} in it", where=place, fix=fix)
    return load_report(file), file.parent


def find_reports(folder: Path) -> Iterator[Path]:
    """Every `report.json` in the folder and a few levels below, in order of their paths.

    Hidden folders, links to folders, and what cannot be listed are passed over.
    """
    for place, folders, files in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        found = REPORT in files
        # What an assay holds besides, a run with its checkpoints, is large and has no reports.
        folders[:] = [] if found or depth == _DEPTH else sorted(f for f in folders if not f.startswith("."))
        if found:
            yield Path(place, REPORT)
