"""Steps of a run under XLA's profiler: how their time divides between the parts of the step.

The profiler names the operation of the compiled program that ran, on which device, from when to when; each
moment of a traced step is then a part's, or nothing ran in it. Measured in the run, in the very program: no
part is timed beside it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jax

from pippin.assay.hlo import Operation, operations
from pippin.assay.trace_file import MARK, read_trace
from pippin.errors import first_line
from pippin.train.ledger import Ledger
from pippin.train.profile import start_trace
from pippin.train.step import Program

# Groups of steps, spread over the run: enough for an interval, and for a run whose speed wanders.
GROUPS = 20
# A group lasts about so long, so that starting and reading a trace is little beside the run.
_GROUP_SECONDS = 0.2
_MOST_STEPS = 8
# In the ledger, of starting and of reading a trace.
TRACE = "trace of steps"
# What a profiler that does not work here raises.
_REFUSALS = (RuntimeError, NotImplementedError)
_NO_NAMES = "the profiler of this device names no operation of the step"


@dataclass(frozen=True)
class Group:
    """Steps traced one after the other.

    Args:
        first: the number of the first, from 1.
        stop: the number after the last.
        seconds: of all of them.
        parts: seconds of each part, and of `timeline.NOTHING`: the mean of the local devices.
    """

    first: int
    stop: int
    seconds: float
    parts: Mapping[str, float]

    def share(self, *parts: str) -> float:
        """Of the time, that of these parts."""
        return sum(self.parts.get(part, 0.0) for part in parts) / self.seconds


@dataclass(frozen=True)
class Traced:
    """The traced steps of a run. Without any, `reason` says why."""

    groups: Sequence[Group]
    reason: str | None = None


class StepTraces:
    """Traces groups of a run's steps, as a context around its loop.

    Args:
        program: whose step it is.
        ledger: starting and reading a trace are spans of their own in it.
        steps: how many the run has.
        step_seconds: about how long one takes.
    """

    def __init__(self, program: Program, ledger: Ledger, steps: int, step_seconds: float) -> None:
        self._groups: list[Group] = []
        self._reason = "no step was traced"
        self._program, self._ledger = program, ledger
        self._stops = dict(group_bounds(steps, step_seconds))
        self._operations: dict[str, Operation] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._first = self._stop = 0
        self._mark: Any = None

    @property
    def traced(self) -> Traced:
        """What was found until now."""
        return Traced(tuple(self._groups), None if self._groups else self._reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder:
            with contextlib.suppress(*_REFUSALS), self._folder:  # the run's own error goes before
                jax.profiler.stop_trace()

    def begin(self, step: int) -> None:
        """A step is about to run."""
        if step in self._stops and not self._folder:
            with self._ledger.span("evaluation", TRACE):
                self._start(step)
        if self._folder:
            self._mark = jax.profiler.TraceAnnotation(MARK)
            self._mark.__enter__()

    def end(self, step: int) -> None:
        """The step has run."""
        if not self._folder:
            return
        self._mark.__exit__(None, None, None)
        if step + 1 == self._stop:
            with self._ledger.span("evaluation", TRACE):
                self._read()

    def _start(self, step: int) -> None:
        folder = tempfile.TemporaryDirectory(prefix="pippin-trace-")
        try:
            self._operations = self._operations or operations(self._program.step_text)
            start_trace(Path(folder.name))
        except _REFUSALS as error:  # another trace is open, or this device has none
            self._reason, self._stops = f"no step could be traced: {first_line(error)}", {}
            folder.cleanup()
        else:
            self._folder, self._first, self._stop = folder, step, self._stops[step]

    def _read(self) -> None:
        """Ends the trace; a group that cannot be read, or without a name of an operation, is the last."""
        assert self._folder is not None
        found, reason = None, _NO_NAMES
        try:
            with self._folder as folder:
                jax.profiler.stop_trace()
                files = list(Path(folder).rglob("*.xplane.pb"))
                found = read_trace(files[0], self._operations) if files else None
        except _REFUSALS as error:
            reason = f"the trace of a step could not be read: {first_line(error)}"
        self._folder = None
        if found is None:
            self._reason, self._stops = reason, {}
        else:
            self._groups.append(Group(self._first, self._stop, *found))


def group_bounds(steps: int, step_seconds: float) -> Iterator[tuple[int, int]]:
    """First step and the one after the last of every group. The first step of a run is in none, and every
    group has as many untraced steps after it as it has steps itself."""
    size = max(1, min(_MOST_STEPS, round(_GROUP_SECONDS / step_seconds)))
    count = max(1, min(GROUPS, (steps - 1) // (2 * size)))
    for number in range(count):
        first = 2 + number * (steps - 1) // count
        if first + size <= steps + 1:
            yield first, first + size
