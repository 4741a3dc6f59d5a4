"""Append-only files of one JSON object a line, that no kill and no full disk leaves half written."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pippin.errors import PippinError, explained


class JsonLines:
    """Appends objects to a file, which is created where it is missing.

    A torn last line (a kill in mid-write) is cut off first, so that the next one starts a line of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            self._file = path.open("ab+", buffering=0)
            # A run may end by an exception anywhere: the file is closed with the object at the latest.
            weakref.finalize(self, self._file.close)
            self._file.seek(0)
            self._file.truncate(self._file.read().rfind(b"\n") + 1)

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line, or none of it.

        Raises:
            PippinError: no space.
        """
        rest = json.dumps(line, allow_nan=False).encode() + b"\n"
        with explained(self._path):
            before = os.fstat(self._file.fileno()).st_size
            try:
                # A disk that is almost full takes a part first and refuses only what is left.
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._file.truncate(before)
                raise

    def sync(self) -> None:
        """Makes all lines so far survive a power cut."""
        with explained(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """All whole lines; a torn last one is left out.

    Args:
        path: the file.
        keys: every object must have them.

    Raises:
        PippinError: unreadable, or damaged before its last line; names the line.
    """
    with explained(path):
        content = path.read_bytes()
    objects = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            value = json.loads(line)
            _ = [value[key] for key in keys]
        except (ValueError, TypeError, KeyError) as error:
            raise PippinError("damaged line", where=f"{path}:{number}", fix="restore the file") from error
        objects.append(value)
    return objects
