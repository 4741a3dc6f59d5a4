"""`metrics.jsonl`: one object a step, each step once, however often the run was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pippin.errors import PippinError
from pippin.storage import write_atomic
from pippin.train.jsonl import JsonLines, read_lines


class MetricsLog:
    """Appends steps to a file that was first cut back to where the run goes on.

    Args:
        path: `metrics.jsonl`.
        after_step: steps up to this one stay; later ones were lost with the process and come again.

    Raises:
        PippinError: a line is damaged, or one of the first steps is missing.
    """

    def __init__(self, path: Path, *, after_step: int) -> None:
        kept = [line for line in _existing(path) if line["step"] <= after_step]
        if [line["step"] for line in kept] != list(range(1, after_step + 1)):
            raise PippinError(
                f"does not hold each of the first {after_step} steps once", where=path, fix="restore the file"
            )
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._lines = JsonLines(path)

    def write(self, line: dict[str, Any]) -> None:
        """Appends one step."""
        self._lines.append(line)

    def sync(self) -> None:
        """Makes all lines so far survive a power cut."""
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a metrics file, in order."""
    return read_lines(path, ("step",))


def _existing(path: Path) -> list[dict[str, Any]]:
    return read_metrics(path) if path.exists() else []
