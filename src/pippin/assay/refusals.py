"""What the device refused, above all for want of memory, as a reason: the training and its report go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax

Found = TypeVar("Found")


def refusal(error: jax.errors.JaxRuntimeError) -> str:
    """The error in one line."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"the device's memory does not hold it: {line}" if "RESOURCE_EXHAUSTED" in line else line


def attempted(measure: Callable[[], Found]) -> Found | str:
    """What `measure` found, or why the device did not carry it out. Any other error is raised."""
    try:
        return measure()
    except jax.errors.JaxRuntimeError as error:
        return refusal(error)
