"""`pippin assay --repeat`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from pippin.assay.repeat import StoppedError, read_runs, repeat
from pippin.report.schema import Report
from pippin.report.units import percent, significant

_MISTAKE = 2  # the run has said in its one line what is wrong


def run(arguments: Sequence[str], times: int, out: Path | None, *, as_json: bool) -> None:
    """Makes the runs of `assay` with these arguments; prints their speeds, or all reports as JSON."""
    folder = out or Path("assays") / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        runs = repeat(of_one_run(arguments), times, folder, tell)
    except StoppedError as stop:
        if stop.status != _MISTAKE:
            tell(f"pippin: {stop.run} was not finished; the same command keeps the runs before it")
        raise typer.Exit(stop.status) from stop
    reports = read_runs(runs)
    if as_json:
        print("[" + ",\n".join(report.to_json() for report in reports) + "]")
        return
    print(text(runs, reports, folder))


def of_one_run(arguments: Sequence[str]) -> list[str]:
    """The arguments of `assay` without those that are of the whole: --repeat, --out, --json."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("--repeat", "--out"):
            next(words, None)
        elif word != "--json" and not word.startswith(("--repeat=", "--out=")):
            kept.append(word)
    return kept


def text(runs: Sequence[Path], reports: Sequence[Report], folder: Path) -> str:
    """What was run on what, a line for each run, and how far they are apart."""
    first = reports[0]
    lines = [f"{len(reports)} runs of {first.workload.preset} on {first.chip.name}"]
    lines += [
        f"{run.name:>8}  {significant(report.tokens_per_second)} tokens/s in the steps, "
        f"{significant(report.tokens_per_second_end_to_end)} end to end"
        for run, report in zip(runs, reports, strict=True)
    ]
    rates = [report.tokens_per_second for report in reports]
    spread = (max(rates) - min(rates)) / min(rates)
    lines.append(f"  spread  the fastest is {percent(spread)} faster than the slowest")
    lines.append(f"    side  pippin compare {folder} OTHER")
    return "\n".join(lines)
