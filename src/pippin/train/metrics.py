"""`metrics.jsonl`: one object a step, each step once, however often the run was stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pippin.errors import PippinError, explained
from pippin.storage import write_atomic


class MetricsLog:
    """Appends steps to a file that was first cut back to where the run goes on.

    Args:
        path: `metrics.jsonl`.
        after_step: steps up to this one stay; later ones were lost with the process and come again.
    """

    def __init__(self, path: Path, *, after_step: int) -> None:
        self._path = path
        kept = [line for line in _whole_lines(path) if _step(line) <= after_step]
        if after_step and len(kept) != after_step:
            raise PippinError(
                f"holds {len(kept)} of the first {after_step} steps", where=path, fix="restore the file"
            )
        write_atomic(path, b"".join(line + b"\n" for line in kept))
        with explained(path):
            self._file = path.open("ab", buffering=0)

    def write(self, line: dict[str, Any]) -> None:
        """Appends one step."""
        with explained(self._path):
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def sync(self) -> None:
        """Makes all lines so far survive a power cut."""
        with explained(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a metrics file, in order."""
    return [json.loads(line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[bytes]:
    """Lines that end in a newline; a kill in mid-write leaves one that does not."""
    if not path.exists():
        return []
    with explained(path):
        return path.read_bytes().split(b"\n")[:-1]


def _step(line: bytes) -> int:
    return int(json.loads(line)["step"])
