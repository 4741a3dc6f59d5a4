"""Output folders that must be new."""

from __future__ import annotations

from pathlib import Path

from pippin.errors import PippinError, explained


def free_place(path: Path) -> None:
    """Makes sure that a new folder can take this name: an empty one is removed, a full one refused.

    Raises:
        PippinError: there is something already, or the file system refuses.
    """
    with explained(path):
        if not path.is_dir() or path.is_symlink():
            if path.exists() or path.is_symlink():
                raise PippinError("there is a file of that name", where=path, fix="choose another name")
            return
        if any(path.iterdir()):
            raise PippinError("the folder is not empty", where=path, fix="choose a new or empty folder")
        path.rmdir()
