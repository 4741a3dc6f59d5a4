"""The ledger: every span of a run's wall time in exactly one category, in an append-only file.

A line is one span: `category`, `start` and `end` (Unix seconds), `name`, and for a step its number
(counted from 1), the half-open range of token positions it consumed, and the digest of its batch. Spans
follow one another: what no part of the program claims becomes a span `idle`, and on a restart the time
since the last span is one too. Goodput and the token account are folds over these lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pippin.train.jsonl import JsonLines, read_lines

Category = Literal["compile", "data", "step", "evaluation", "checkpoint", "restart", "idle"]
CATEGORIES: tuple[str, ...] = get_args(Category)

# A gap shorter than this joins the span that follows it; a longer one gets an idle span of its own.
_SMALLEST_IDLE_SECONDS = 1e-3


@dataclass
class OpenSpan:
    """A span while it lasts. `seconds` is known once it has ended."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Ledger:
    """Appends spans to a file. One process writes at a time (the run folder's lock sees to it).

    Args:
        path: `ledger.jsonl`; created where it is missing, continued where it is not.
        begin: Unix time at which this process began; earlier than now by the time its imports took.
        clock: Unix time in seconds; read once, then advanced by a monotonic clock.
    """

    def __init__(self, path: Path, *, begin: float, clock: Callable[[], float] = time.time) -> None:
        self._offset = clock() - time.perf_counter()
        previous = read_ledger(path) if path.exists() else []
        self._lines = JsonLines(path)
        self._open: OpenSpan | None = None
        self._closed = False
        self._last = begin
        if previous:
            ended = float(previous[-1]["end"])
            clean = previous[-1].get("name") == "stopped"
            self._last = max(begin, ended)
            if self._last > ended:
                self._write("idle" if clean else "restart", "not running", ended, self._last)
        # The clock may have been set back since: spans must not overlap, and time must not stand still.
        self._offset = max(self._offset, self._last - time.perf_counter())
        self._write("restart", "start of the process", self._last, self.now())

    def now(self) -> float:
        """Unix time in seconds that never runs backwards within a process."""
        return max(self._last, self._offset + time.perf_counter())

    @contextmanager
    def span(self, category: Category, name: str | None = None) -> Iterator[OpenSpan]:
        """Claims the time of the block, which may add fields to the span it is given.

        A block left by an exception is written too, as `failed` and without its fields: no second is
        lost, and a step that did not end is never taken for one that did.
        """
        if self._open is not None:
            raise RuntimeError(f"the span '{self._open.name}' is open already")
        start = self.now()
        if start - self._last >= _SMALLEST_IDLE_SECONDS:
            self._write("idle", "between spans", self._last, start)
        span = self._open = OpenSpan(name or category)
        start = self._last
        try:
            yield span
        except BaseException:
            span.fields = {"failed": True}
            raise
        finally:
            self._open = None
            end = self.now()
            span.seconds = end - start
            self._write(category, span.name, start, end, **span.fields)

    def sync(self) -> None:
        """Makes all lines so far survive a power cut."""
        self._lines.sync()

    def close(self) -> None:
        """Ends the account: the time since the last span is idle, and marks a clean stop."""
        if self._closed:
            return
        self._closed = True
        try:
            self._write("idle", "stopped", self._last, self.now())
            self.sync()
        finally:
            self._lines.close()

    def _write(self, category: str, name: str, start: float, end: float, **fields: Any) -> None:
        line = {"category": category, "start": round(start, 6), "end": round(end, 6), "name": name, **fields}
        self._lines.append(line)
        self._last = end


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All whole spans of a ledger; a torn last line (a kill in mid-write) is left out.

    Raises:
        PippinError: unreadable, or damaged before its last line.
    """
    return read_lines(path, ("category", "start", "end"))
