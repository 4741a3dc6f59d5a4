"""`pippin calibrate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pippin.cli.folding import FoldDisplay
from pippin.errors import PippinError
from pippin.plan.assayed import run_of_report
from pippin.plan.calibration import CalibrationFile
from pippin.plan.own import Effect, effects
from pippin.plan.publish import make_calibration, with_reports
from pippin.plan.reading import read_runs, shipped_runs
from pippin.plan.runs import Run
from pippin.report.units import si
from pippin.storage import write_atomic

_MOST_SHOWN = 12


def run(tables: Sequence[Path], reports: Sequence[Path], out: Path, *, shipped: bool) -> None:
    """Fits, writes the file and prints what the rows taught."""
    rows = [run for path in tables for run in read_runs(path)]
    if shipped or not (tables or reports):
        ids = {run.id for run in rows}
        rows.extend(run for run in shipped_runs() if run.id not in ids)
    _refuse_twins(rows)
    own = [run_of_report(path) for path in reports]
    if own:
        file = with_reports(rows, own)
    else:
        with FoldDisplay() as display:
            file = make_calibration(rows, display)
    write_atomic(out, file.model_dump_json(indent=1) + "\n")
    print("\n".join([*_summary(file, out, fitted=bool(rows)), *(_told(each) for each in effects(own, file))]))


def _refuse_twins(rows: Sequence[Run]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise PippinError(f"the id '{row.id}' stands in two files", where="calibrate")
        seen.add(row.id)


def _told(each: Effect) -> str:
    """What folding an assay in did to its own prediction."""
    measured = each.run.step_seconds
    said = [
        f"{si(e.value, 's')} ({si(e.low, 's')} to {si(e.high, 's')}), off by {measured / e.value - 1:+.0%}"
        for e in (each.before, each.after)
    ]
    return (
        f"{each.run.source}, {each.run.model}: measured {si(measured, 's')} a step; predicted without it "
        f"{said[0]}; with it {said[1]}"
    )


def _summary(file: CalibrationFile, out: Path, *, fitted: bool) -> list[str]:
    """How many rows, and if they were fitted now the terms that moved furthest from what was thought."""
    lines = [f"{file.provenance.rows} rows of {len(file.provenance.sources)} sources; wrote {out}"]
    if not fitted:
        return lines
    moved = sorted(
        file.terms.items(), key=lambda item: -abs(item[1].value - item[1].prior) / item[1].prior_sd
    )
    lines.append(f"{'term':<36}{'value':>10}{'before':>10}{'+-':>8}{'rows':>7}")
    for key, term in moved[:_MOST_SHOWN]:
        value, prior = math.exp(term.value), math.exp(term.prior)
        lines.append(f"{key:<36}{value:>10.3g}{prior:>10.3g}{term.sd:>8.0%}{term.rows:>7}")
    return lines
