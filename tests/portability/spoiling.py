"""Steps that are spoilt on purpose, and the lines that do it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pippin.portability.places import Place
from pippin.train.step import Program


def here(function: Callable[..., Any]) -> Place:
    """The line of a function that is marked with `# here`."""
    lines, start = inspect.getsourcelines(function)
    (offset,) = (number for number, line in enumerate(lines) if line.rstrip().endswith("# here"))
    return Place(inspect.getsourcefile(function) or "", start + offset)


def spoilt(spoil: Callable[[Any], Any]) -> type[Program]:
    """A step that does something more with its new state's final norm."""

    class Spoilt(Program):
        def _update(self, state: Any, *batch: Any) -> Any:
            new, figures = super()._update(state, *batch)
            parameters = dict(new["parameters"])
            parameters["final_norm"] = spoil(parameters["final_norm"])
            return new | {"parameters": parameters}, figures

    return Spoilt
