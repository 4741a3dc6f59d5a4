"""One side of a comparison: a report, the folder of an assay, or several of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pippin.errors import PippinError
from pippin.report.folders import REPORT
from pippin.report.intervals import Floats
from pippin.report.schema import Report, load_report


@dataclass(frozen=True)
class Side:
    """Reports that stand for one chip. `label` is A or B, `paths` are where they lie."""

    label: str
    paths: tuple[str, ...]
    reports: tuple[Report, ...]

    @property
    def first(self) -> Report:
        return self.reports[0]

    @property
    def num_windows(self) -> int:
        return sum(len(report.speed.windows) for report in self.reports)

    @property
    def tokens_per_second(self) -> float:
        """The geometric mean over the runs, each as its windows have it."""
        return _geometric([_rate(report) for report in self.reports])

    @property
    def tokens_per_second_end_to_end(self) -> float:
        return _geometric([report.tokens_per_second_end_to_end for report in self.reports])

    @property
    def tokens_per_joule(self) -> float | None:
        """In the windows' steps where every run has them metered, else over whole trainings."""
        if self.window_joules_known:
            return _geometric([_total_tokens(r) / sum(r.speed.window_joules or ()) for r in self.reports])
        totals = [report.energy.joules_per_token for report in self.reports]
        return _geometric([1 / joules for joules in totals if joules]) if all(totals) else None

    @property
    def window_joules_known(self) -> bool:
        return all(report.speed.window_joules and all(report.speed.window_joules) for report in self.reports)

    def log_speeds(self) -> list[Floats]:
        """Of each run the log of its windows' tokens per second, around the run's own log rate."""
        return [
            _around(np.array([w.tokens_per_second for w in report.speed.windows]), _rate(report))
            for report in self.reports
        ]

    def log_tokens_per_joule(self) -> list[Floats]:
        """The same of tokens per joule; only where `window_joules_known`."""
        return [
            _around(
                np.array([w.tokens for w in report.speed.windows]) / np.array(report.speed.window_joules),
                _total_tokens(report) / sum(report.speed.window_joules or ()),
            )
            for report in self.reports
        ]

    def log_end_to_end(self) -> list[Floats]:
        """The same of whole runs: one value each."""
        return [np.log([report.tokens_per_second_end_to_end]) for report in self.reports]


def _around(values: Floats, rate: float) -> Floats:
    """Logs of the values, moved so that their mean is the log of the run's rate, a harmonic mean."""
    logs = np.log(values)
    moved: Floats = logs - logs.mean() + np.log(rate)
    return moved


def _total_tokens(report: Report) -> int:
    return sum(window.tokens for window in report.speed.windows)


def _rate(report: Report) -> float:
    return _total_tokens(report) / sum(window.seconds for window in report.speed.windows)


def _geometric(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def read_side(label: str, given: str) -> Side:
    """Reads a side: a path, or several with commas between them.

    Args:
        label: A or B, for messages.
        given: each path is a report.json, the folder of an assay, or a folder that holds several of them, as
            `pippin assay --repeat` leaves it.

    Raises:
        PippinError: nothing is there, there is no report in it, one cannot be read or stands there twice.
    """
    found = [path for part in _parts(given) for path in _reports_at(Path(part), label)]
    return make_side(label, [str(path) for path in found], [load_report(path) for path in found])


def make_side(label: str, paths: Sequence[str], reports: Sequence[Report]) -> Side:
    """A side of these reports. One that counts twice would pass for another run.

    Raises:
        PippinError: two of them are the same.
    """
    seen: dict[str, int] = {}
    for index, (path, report) in enumerate(zip(paths, reports, strict=True)):
        if (first := seen.setdefault(report.to_json(), index)) != index:
            raise PippinError(
                f"{label} holds one report twice: it is {paths[first]} too",
                where=path,
                fix="name each run once",
            )
    return Side(label, tuple(paths), tuple(reports))


def _parts(given: str) -> list[str]:
    return [given] if Path(given).exists() else [part for part in given.split(",") if part] or [given]


def _reports_at(path: Path, label: str) -> list[Path]:
    if path.is_dir():
        if (path / REPORT).exists():
            return [path / REPORT]
        if several := sorted(path.glob(f"*/{REPORT}"), key=_in_order):
            return several
        raise PippinError(
            f"there is no {REPORT} in it, nor in a folder below",
            where=path,
            fix="name the folder of an assay",
        )
    if not path.exists():
        raise PippinError(f"no such file or folder, for {label}", where=path, fix="check the path")
    return [path]


def _in_order(path: Path) -> tuple[int, str]:
    """run-10 comes after run-9."""
    digits = "".join(char for char in path.parent.name if char.isdigit())
    return int(digits or 0), path.parent.name
