"""How far a search is, where it takes longer than two seconds."""

from __future__ import annotations

import time
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

_PATIENCE_SECONDS = 2.0


class SearchDisplay:
    """A bar on a terminal, a line elsewhere; nothing for a search that is over at once."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._begun = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: Any) -> None:
        if self._bar:
            self._bar.stop()

    def progress(self, done: int, total: int) -> None:
        """Told by the search after each chunk: layouts done, layouts in all."""
        if time.monotonic() - self._begun < _PATIENCE_SECONDS:
            return
        if self._console.is_terminal:
            self._draw(done, total)
        elif not self._said:
            self._said = True
            self._console.print(f"searching {total:,} layouts ...", highlight=False)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("searching layouts")
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)
