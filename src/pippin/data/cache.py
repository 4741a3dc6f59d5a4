"""Folders that can be made again: kept under the user's cache, checked before use, rebuilt when damaged."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from pippin.errors import PippinError, explained
from pippin.storage import new_folder

ENVIRONMENT = "PIPPIN_CACHE_DIR"
_ATTEMPTS = 5
_STALE_SECONDS = 24 * 3600

T = TypeVar("T")


def cache_folder() -> Path:
    """`$PIPPIN_CACHE_DIR`, else the place the system has for a user's caches."""
    return Path(os.environ.get(ENVIRONMENT) or platformdirs.user_cache_dir("pippin")).expanduser()


def cached(
    folder: Path,
    load: Callable[[Path], T],
    write: Callable[[Path], None],
    tell: Callable[[str], None],
) -> T:
    """What `load` finds in `folder`; where nothing sound is there, `write` makes it first.

    `load` raises `PippinError` on a damaged folder; that is told, and the folder is made again. Several
    processes may do this at once: each writes a folder of its own, the first to finish names it, the
    others use that one.

    Raises:
        PippinError: what `write` raises, or the folder is found damaged again and again.
    """
    _sweep(folder.parent)
    damage: PippinError | None = None
    for _ in range(_ATTEMPTS):
        if os.path.lexists(folder):
            try:
                return load(folder)
            except PippinError as error:
                damage = error
                tell(f"the cache is damaged and is built again: {error}")
                _discard(folder)
        try:
            with new_folder(folder) as temporary:
                write(temporary)
        except PippinError as error:
            # The rename fails when another process was first: its folder is as good.
            if not os.path.lexists(folder):
                raise _with_way_out(error) from error
    raise PippinError("the cache cannot be built: it is damaged each time", where=folder) from damage


def _with_way_out(error: PippinError) -> PippinError:
    """Says how to choose another cache where the file system is to blame."""
    if not isinstance(error.__cause__, OSError):
        return error
    fix = f"set {ENVIRONMENT} to a folder that you may write to and that has space"
    return PippinError(error.what, where=error.where, fix=fix)


def _discard(folder: Path) -> None:
    """Renames before it deletes, so that no other process sees half a folder."""
    with explained(folder):
        trash = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            folder.rename(trash / folder.name)
        except FileNotFoundError:
            pass  # Another process found the damage too.
        finally:
            shutil.rmtree(trash, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Deletes what builds that were killed a day ago or more have left."""
    for left in parent.glob(".*.*"):
        try:
            stale = time.time() - left.stat().st_mtime > _STALE_SECONDS
        except OSError:
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)
