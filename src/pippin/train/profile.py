"""A trace of a few steps, for a browser to open.

XLA's profiler records what the device and the host did; the file is in the Trace Event format, which Perfetto
(ui.perfetto.dev) and Chrome (chrome://tracing) open. Perfetto works on the file in the browser itself.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import jax

from pippin.errors import PippinError, explained
from pippin.storage import write_atomic
from pippin.train.run import RunFolder

FOLDER = "profile"


@dataclass(frozen=True)
class ProfileSteps:
    """The steps from `first` up to but not including `stop`, counted from 1."""

    first: int
    stop: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10:13` as the steps 10, 11 and 12.

        Raises:
            PippinError: not two numbers, or no step between them.
        """
        match = re.fullmatch(r"(\d+):(\d+)", text)
        first, stop = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= first < stop:
            raise PippinError(
                f"'{text}' is not FIRST:STOP with 1 <= FIRST < STOP",
                where="--profile-steps",
                fix="as in 10:13 for the steps 10, 11 and 12",
            )
        return cls(first, stop)


class Marks(Protocol):
    """Told of each step before and after it runs."""

    def begin(self, step: int, /) -> None: ...

    def end(self, step: int, /) -> None: ...


def start_trace(folder: Path) -> None:
    """Records into the folder until `jax.profiler.stop_trace`."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # every Python call would be traced, and slow the step
    jax.profiler.start_trace(folder, profiler_options=options)


class Tracer:
    """Records the steps asked for, as a context around the loop; cut short, it still writes what it has.

    Starting and writing a trace takes up to seconds: spans of their own in the ledger.

    Args:
        steps: None records nothing.
        run: the trace is `profile/steps_FIRST-LAST.json.gz` in its folder.
    """

    def __init__(self, steps: ProfileSteps | None, run: RunFolder) -> None:
        self._wanted, self._run = steps, run
        self._temporary: Path | None = None
        self._seen: list[int] = []
        self._mark: jax.profiler.StepTraceAnnotation | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def missed(self) -> bool:
        """Steps were asked for, and none of them has run."""
        return self._wanted is not None and not self._seen

    def begin(self, step: int) -> None:
        """A step is about to run."""
        if self._wanted is None or not self._wanted.first <= step < self._wanted.stop:
            return
        if self._temporary is None:
            with self._run.ledger.span("evaluation", "trace begins"):
                self._temporary = Path(tempfile.mkdtemp(prefix="pippin-trace-"))
                start_trace(self._temporary)
        self._seen.append(step)
        self._mark = jax.profiler.StepTraceAnnotation("step", step_num=step)
        self._mark.__enter__()

    def end(self, step: int) -> None:
        """The step has run."""
        if self._mark is None:
            return
        self._mark.__exit__(None, None, None)
        self._mark = None
        if self._wanted and step + 1 == self._wanted.stop:
            self._stop()

    def _stop(self) -> None:
        if self._temporary is None:
            return
        temporary, self._temporary = self._temporary, None
        with self._run.ledger.span("evaluation", "trace written"):
            jax.profiler.stop_trace()
            name = f"steps_{self._seen[0]}-{self._seen[-1]}.json.gz"
            try:
                with explained(temporary):
                    (trace,) = temporary.rglob("*.trace.json.gz")
                    write_atomic(self._run.path / FOLDER / name, trace.read_bytes())
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
