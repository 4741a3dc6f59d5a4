"""What the device refused, above all for want of memory, as a reason: the training and its report go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax

from pippin.errors import first_line

Found = TypeVar("Found")


def refusal(error: BaseException) -> str:
    """The error in one line."""
    line = first_line(error)
    return f"the device's memory does not hold it: {line}" if "RESOURCE_EXHAUSTED" in line else line


def is_refusal(error: BaseException) -> bool:
    """Whether it is the device's, and not a mistake of the program."""
    return isinstance(error, jax.errors.JaxRuntimeError)


def attempted(measure: Callable[[], Found]) -> Found | str:
    """What `measure` found, or why the device did not carry it out. Any other error is raised."""
    try:
        return measure()
    except jax.errors.JaxRuntimeError as error:
        return refusal(error)
