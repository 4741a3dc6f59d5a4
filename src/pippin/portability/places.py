"""The line of our code, or of the user's, from which an operation comes."""

from __future__ import annotations

import re
import sysconfig
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pippin

_PACKAGE = Path(pippin.__file__).resolve().parent
_HERE = Path(__file__).resolve().parent
_LIBRARIES = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")})
# A file with line and column, as a location of MLIR is printed. Innermost first.
_FRAME = re.compile(r'"((?:[^"\\]|\\.)*)":(\d+):\d+')
_NAME = re.compile(r'^loc\("((?:[^"\\]|\\.)*)"\(')


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    @property
    def shown(self) -> str:
        """The file, of the package's own ones the part inside it."""
        path = Path(self.file)
        return path.relative_to(_PACKAGE).as_posix() if path.is_relative_to(_PACKAGE) else self.file

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@cache
def is_ours(file: str) -> bool:
    """Whether a file belongs to Pippin or to the user, and not to a library, to Python or to this part."""
    path = Path(file)
    if path.is_relative_to(_PACKAGE):
        return not path.is_relative_to(_HERE)
    return path.exists() and not any(path.resolve().is_relative_to(folder) for folder in _LIBRARIES)


@cache
def frames_of(location: str) -> tuple[Place, ...]:
    """Our lines on the way to an operation, innermost first, from a location as MLIR prints it."""
    found = (Place(file, int(line)) for file, line in _FRAME.findall(location))
    return tuple(place for place in found if is_ours(place.file))


def scope_of(location: str) -> str:
    """JAX's path to an operation, such as `jit(step)/while/body/dot_general`."""
    named = _NAME.match(location)
    return named[1] if named else ""


def place_of_error(error: BaseException) -> Place | None:
    """Our innermost line in an error's traceback."""
    lines = reversed(traceback.extract_tb(error.__traceback__))
    return next((Place(line.filename, line.lineno or 0) for line in lines if is_ours(line.filename)), None)
