"""Progress through folds: a bar on a terminal, nothing elsewhere. Always on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress


class FoldDisplay:
    """Called with a fold's name, how many are done and how many there are."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(console=console, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("fitting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=name[:60], completed=done, total=total)
