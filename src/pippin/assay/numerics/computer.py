"""What runs a function: the chip at hand, or what a test puts in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pippin.devices import compile_program


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@dataclass(frozen=True)
class Computer:
    """A device that compiles and runs functions of arrays.

    Attributes:
        device: where.
        change: what becomes of a function before it is compiled. Nothing on a chip; a test hands in a
            change that makes every product of the function wrong, as a broken chip would.
        as_in_training: whether functions are compiled with the options of the training. A reference is not,
            so that a fault of what they choose is not in both.
    """

    device: jax.Device
    change: Callable[[Callable[..., Any]], Callable[..., Any]] = _as_it_is
    as_in_training: bool = True

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function on this device: takes host arrays or its own, gives host arrays."""
        run = jax.jit(self.change(function))
        programs: dict[str, Any] = {}

        def call(*arguments: Any) -> Any:
            placed = jax.device_put(arguments, self.device)
            shapes = str(jax.tree.map(jax.typeof, placed))
            if shapes not in programs:
                lowered = run.lower(*placed)
                programs[shapes] = compile_program(lowered) if self.as_in_training else lowered.compile()
            return jax.tree.map(np.asarray, programs[shapes](*placed))

        return call

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compiles and runs it once."""
        return self.compiled(function)(*arguments)
