"""Progress: a live display on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pippin.train.observer import Observer, RunPlan, StepReport

_LINE_EVERY_SECONDS = 5.0
_SMOOTHING_STEPS = 10


class _Screen(Console):
    """A console that a run can leave at any moment, and that can leave the run."""

    def on_broken_pipe(self) -> None:
        """Falls silent: that its reader has gone (`2>&1 | head`) is no reason to end a run."""
        self.quiet = True

    def show_cursor(self, show: bool = True) -> bool:
        """Never hides it: after a second Ctrl-C nobody would be there to show it again."""
        return show and super().show_cursor(show)


class Display(Observer):
    """Shows what a run tells. Everything goes to the given stream, so that stdout stays the result's."""

    def __init__(self, stream: TextIO) -> None:
        self._console = _Screen(file=stream, soft_wrap=not stream.isatty())
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._closing = ExitStack()
        self._recent: list[StepReport] = []
        self._bits: float | None = None
        self._last_line = 0.0
        self._total = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = self._closing.enter_context(
                Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[figures]}"),
                    console=self._console,
                    transient=True,
                )
            )
        return self

    def __exit__(self, *details: Any) -> None:
        self._closing.__exit__(*details)

    def phase(self, what: str) -> None:
        if self._live:
            self._show(what)
            assert self._task is not None
            self._live.reset(self._task, total=None)
        elif what != "training":
            self._print(f"{what} ...")

    def progress(self, done: int, total: int) -> None:
        if self._live and self._task is not None:
            self._live.update(self._task, completed=done, total=total)

    def warn(self, message: str) -> None:
        self._print(f"warning: {message}")

    def started(self, plan: RunPlan) -> None:
        self._total = plan.total_steps
        where = f"goes on from step {plan.first_step} of" if plan.first_step else "trains"
        self._print(
            f"{where} {plan.total_steps} steps of {plan.tokens_per_step:,} tokens, "
            f"{plan.num_parameters / 1e6:.1f} M parameters, {plan.choices}"
        )

    def step(self, report: StepReport) -> None:
        self._recent = [*self._recent, report][-_SMOOTHING_STEPS:]
        self._bits = report.validation_bits_per_byte or self._bits
        if self._live:
            self._show("training", total=self._total, completed=report.step)
        elif self._line_is_due(report):
            self._print(f"step {report.step}/{self._total}  {self._figures()}")

    def saved(self, step: int, seconds: float) -> None:
        if not self._live:
            self._print(f"saved step {step} in {seconds:.1f} s")

    def _show(self, what: str, **fields: Any) -> None:
        assert self._live is not None
        if self._task is None:
            self._task = self._live.add_task(what, figures="", **fields)
        self._live.update(self._task, description=what, figures=self._figures(), **fields)

    def _figures(self) -> str:
        if not self._recent:
            return ""
        speeds = sorted(report.tokens_per_second for report in self._recent)
        last, median = self._recent[-1], speeds[len(speeds) // 2]
        tokens_per_step = last.tokens // last.step
        left = (self._total - last.step) * tokens_per_step / median
        bits = f"  {self._bits:.3f} bits/byte held out" if self._bits else ""
        return f"{median:,.0f} tokens/s  loss {last.loss:.3f}{bits}  {_clock(left)} left"

    def _line_is_due(self, report: StepReport) -> bool:
        now = time.monotonic()
        due = report.step == self._total or report.validation_bits_per_byte is not None
        if due or now - self._last_line >= _LINE_EVERY_SECONDS:
            self._last_line = now
            return True
        return False

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
