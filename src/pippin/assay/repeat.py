"""Whole assays one after the other, each in a process of its own, so that nothing of one reaches the next.

A folder of runs is one side of a comparison. JAX is not imported here: the process that waits must not
hold the chip.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pippin.assay.alike import machine_at_hand, of_another_job, of_another_machine
from pippin.errors import PippinError, explained
from pippin.report.folders import REPORT
from pippin.report.schema import Report, load_report
from pippin.storage import read_json, write_json

OPTIONS = "repeat.json"
_COMMAND = (sys.executable, "-c", "from pippin.cli.main import main; main()")
_FIX = "move it away to have it made again, or choose another folder"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(Exception):
    """A run ended before its report: its exit status, which it has explained itself on standard error."""

    def __init__(self, status: int, run: Path) -> None:
        self.status, self.run = status, run
        super().__init__(f"{run} ended with status {status}")


def repeat(
    options: Sequence[str],
    times: int,
    out: Path,
    tell: Callable[[str], None],
    *,
    command: Sequence[str] = _COMMAND,
    at_hand: Callable[[], dict[str, Any]] = machine_at_hand,
) -> list[Path]:
    """Runs `pippin assay` so many times, into `run-1`, `run-2` and so on.

    Called again with the same options, it keeps the runs that have a report and makes those that lack one. A
    kept run must be of this machine and of these versions, and all runs of one job. An assay that was stopped
    cannot be gone on with as an assay: what it left is set aside, and it begins anew.

    Args:
        options: of each run, without `--out` and `--repeat`.
        times: how many runs there are in the end.
        out: a new or empty folder, or one that this function has begun with these options.
        tell: is told which run begins.
        command: stands for `pippin`.
        at_hand: finds this machine and these versions, asked only where a run is kept.

    Returns:
        The folders of all runs.

    Raises:
        PippinError: the folder holds something else, or was begun with other options; a kept run is of
            another machine or version, or a run of another job than the one before it.
        StoppedError: a run failed, or a signal was passed on to it.
    """
    if times < 2:
        raise PippinError(f"{times} is not a number of runs from 2 up", where="--repeat")
    _begin(out, list(options))
    runs = [out / f"run-{number}" for number in range(1, times + 1)]
    kept = [run for run in runs if (run / REPORT).exists()]
    _check_kept(kept, at_hand)
    for number, run in enumerate(runs, 1):
        if run in kept:
            tell(f"run {number} of {times}: kept from before ({run})")
            continue
        _set_aside(run)
        tell(f"run {number} of {times}: {run}")
        if status := _run([*command, "assay", *options, "--out", str(run)]):
            raise StoppedError(status, run)
        kept.append(run)
        _check_alike(kept[0], run)
    return runs


def _check_kept(kept: Sequence[Path], at_hand: Callable[[], dict[str, Any]]) -> None:
    """Refuses runs that were made elsewhere, or otherwise, before hours go into more of them."""
    if not kept:
        return
    reports = [read_json(run / REPORT) for run in kept]
    here = at_hand()
    for run, report in zip(kept, reports, strict=True):
        if what := of_another_machine(report, here):
            raise PippinError(f"this run, kept from before, has {what} as here", where=run, fix=_FIX)
    for run in kept:
        _check_alike(kept[0], run)


def _check_alike(first: Path, run: Path) -> None:
    if what := of_another_job(read_json(run / REPORT), read_json(first / REPORT)):
        raise PippinError(f"this run has {what} as {first.name}, and is no repeat of it", where=run, fix=_FIX)


def read_runs(runs: Sequence[Path]) -> list[Report]:
    """The reports of the runs."""
    return [load_report(run / REPORT) for run in runs]


def _begin(out: Path, options: list[str]) -> None:
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        held = sorted(path.name for path in out.iterdir())
    if OPTIONS in held:
        known: dict[str, Any] = read_json(out / OPTIONS)
        if known.get("options") != options:
            was = " ".join(known.get("options") or ["no options"])
            raise PippinError(f"the folder was begun with {was}", where=out, fix="choose another folder")
    elif held:
        raise PippinError("the folder holds other files", where=out, fix="choose a new or empty folder")
    else:
        write_json(out / OPTIONS, {"options": options})


def _set_aside(run: Path) -> None:
    """Makes room for a run; one that never came to write anything has only its lock."""
    if not run.exists() or all(path.name == ".lock" for path in run.iterdir()):
        return
    number = 1
    while (aside := run.with_name(f"{run.name}-unfinished-{number}")).exists():
        number += 1
    with explained(run):
        run.rename(aside)


def _run(command: Sequence[str]) -> int:
    """Waits for the command and passes every Ctrl-C and SIGTERM on to it, once each; gives its status.

    It has a session of its own, so that a terminal's Ctrl-C does not reach it a second time.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        with _passing_on(process):
            status = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
