"""Makes calibration files: a fit, the widths of its intervals from held-out errors, and what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pippin
from pippin.errors import PippinError
from pippin.plan.calibrate import fit, is_composed
from pippin.plan.calibration import SCHEMA_VERSION, CalibrationFile, Provenance, Source, shipped_file
from pippin.plan.folds import Holdout, group_of
from pippin.plan.own import fold_in
from pippin.plan.runs import Run
from pippin.plan.spreads import HeldOut, spreads_of
from pippin.plan.validation import Progress, fit_folds, headline_runs

# A user's runs are a source that the calibration has not seen, so widths rest on rows held out by source, and
# by model family. Rows held out by chip teach how far an unknown chip is off.
_HOLDOUTS: tuple[Holdout, ...] = ("family", "source", "chip")


def make_calibration(
    runs: Sequence[Run], progress: Progress | None = None, *, spreads: dict[str, float] | None = None
) -> CalibrationFile:
    """Fits the scorable rows that are not flagged as wrong, one release of each configuration.

    Args:
        runs: rows of any kind.
        progress: told the fold, how many are done and how many there are.
        spreads: widths of intervals to take over; by default they are measured by holding out.

    Raises:
        PippinError: no row is left.
    """
    rows = headline_runs(runs)
    if not rows:
        raise PippinError("no row to calibrate on", where="calibrate", fix="see pippin validate for reasons")
    fitted = fit(rows)
    return CalibrationFile(
        schema_version=SCHEMA_VERSION,
        provenance=_provenance(rows),
        terms=fitted.terms,
        spreads=spreads or _spreads(rows, fitted.values, progress),
    )


def with_reports(runs: Sequence[Run], reports: Sequence[Run]) -> CalibrationFile:
    """A calibration with assays of one's own folded in: each moves and narrows its own machine alone.

    Args:
        runs: to calibrate the others on, with the shipped widths of intervals; none: the shipped calibration
            as it is.
        reports: runs that `assayed` made of reports.
    """
    shipped = shipped_file()
    if runs or shipped is None:
        base = make_calibration(runs, spreads=dict(shipped.spreads) if shipped else None)
    else:
        base = shipped
    return fold_in(base, reports)


def _spreads(rows: Sequence[Run], start: dict[str, float], progress: Progress | None) -> dict[str, float]:
    held: list[HeldOut] = []
    # Rows composed of timings say little of how far a run is off, and are many.
    rows = [run for run in rows if not is_composed(run)] or rows
    for holdout in _HOLDOUTS:
        if len({group_of(run, holdout) for run in rows}) < 2:
            continue
        for each in fit_folds(rows, holdout, start=start, progress=progress):
            held.extend(e for e in each.errors if holdout != "chip" or e.known != "pair")
    return spreads_of(held) if held else {}


def _provenance(rows: Sequence[Run]) -> Provenance:
    counts = Counter(run.source for run in rows)
    return Provenance(
        version=pippin.__version__,
        date=datetime.now(UTC).date(),
        rows=len(rows),
        row_ids=tuple(run.id for run in rows),
        sources=tuple(Source(name=name, rows=count) for name, count in counts.most_common()),
    )
