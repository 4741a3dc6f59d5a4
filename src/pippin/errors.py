"""The one error that users see: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class PippinError(Exception):
    """An error a user can act on. Printed as one line; the command leaves with status 2.

    Args:
        what: what is wrong, a phrase without a full stop.
        where: the file, key or option at fault.
        fix: what the user can do.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = str(where) if where is not None else None
        self.fix = fix
        prefix = f"{self.where}: " if self.where else ""
        suffix = f" ({fix})" if fix else ""
        super().__init__(" ".join(f"{prefix}{what}{suffix}".split()))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None where nothing comes close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def first_line(error: BaseException) -> str:
    """What somebody else's error says, at most 200 characters of one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


_OS_ERRORS = {
    errno.ENOSPC: ("no space left on the device", "free some space, or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder"),
    errno.EACCES: ("permission denied", "choose a folder you may write to"),
    errno.EPERM: ("operation not permitted", "choose a folder you may write to"),
    errno.EROFS: ("the file system is read-only", "choose a folder you may write to"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
    errno.EISDIR: ("it is a folder, not a file", "choose another path"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.EEXIST: ("it exists already", "choose another path"),
}


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turns an `OSError` raised inside into a `PippinError` that names the path and the way out."""
    try:
        yield
    except OSError as error:
        what, fix = _OS_ERRORS.get(error.errno or 0, (error.strerror or str(error), None))
        raise PippinError(what, where=_named(error, Path(path)), fix=fix) from error


def _named(error: OSError, path: Path) -> Path:
    """The file that the system names, unless that is a descriptor or a temporary stand-in for `path`."""
    if not isinstance(error.filename, str | bytes):
        return path
    named = os.fsdecode(error.filename)
    return path if named.startswith(str(path.parent / f".{path.name}.")) else Path(named)
