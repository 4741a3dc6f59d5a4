"""One operation beside its formula in float64: its result and the gradient by each input, and how far off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.oracle import Oracle
from pippin.assay.numerics.rounding import (
    Wide,
    epsilon,
    nudged,
    relative_norm,
    sum_error,
    worst_element,
)

# How many times the change that one unit in the last place of the inputs makes, and the rounding of the
# result, an error may be. The largest seen on a sound machine is in docs/numerics.md.
_MARGIN = 2.0
# Rounding of the float32 arithmetic inside an operation that is no sum: exponentials, roots, quotients.
_INNER_TERMS = 64
# Between the error of the worst element and that of all: six deviations of a million normal numbers, and
# more where elements are small differences of large sums.
_EXTREME, _EXTREME_OF_DIFFERENCES = 6.0, 25.0


@dataclass(frozen=True)
class Input:
    """A value with the type in which the operation takes it; `name` is what its gradient is by."""

    name: str
    value: Wide
    dtype: str


@dataclass(frozen=True)
class Operation:
    """One operation and what it should give.

    `function` takes the inputs and then the constants (tokens, segments). `terms` are those of its longest
    sum, of the result and of the gradient by each input. `pull` is the gradient by the result. `nudge`: the
    function rounds on its way, so that its error is measured by how much it makes of small changes of its
    inputs. `equation`: of a product.
    """

    name: str
    kind: str
    function: Callable[..., jax.Array]
    oracle: Oracle
    inputs: tuple[Input, ...]
    terms: tuple[int, ...]
    pull: Wide
    pull_dtype: str
    expected: tuple[Wide, tuple[Wide, ...]]
    constants: tuple[Any, ...] = ()
    nudge: bool = True
    equation: str | None = None

    @property
    def parts(self) -> list[str]:
        return ["result", *(f"gradient by {given.name}" for given in self.inputs)]

    def on(self, chip: Computer) -> Callable[..., Any]:
        """Compiled: takes the gradient by the result and the inputs, gives the result and their gradients."""

        def both(constants: Any, pull: Any, *inputs: Any) -> Any:
            result, back = jax.vjp(lambda *inputs: self.function(*inputs, *constants), *inputs)
            return result, back(pull)

        return partial(chip.compiled(both), self.constants)


@dataclass(frozen=True)
class Deviation:
    """How far one result of an operation is off. `part`: "result", or what a gradient is by."""

    operation: str
    kind: str
    part: str
    error: float
    tolerance: float
    worst: float
    worst_tolerance: float

    @property
    def within(self) -> bool:
        return self.error <= self.tolerance and self.worst <= self.worst_tolerance


def compare(operation: Operation, run: Callable[..., Any], compute_dtype: str) -> list[Deviation]:
    """Runs an operation and its derivatives, `run` being `operation.on` a chip, beside the formulas."""
    values = [given.value for given in operation.inputs]
    given = [value.value.astype(np.dtype(value.dtype)) for value in operation.inputs]
    found = _flat(run(operation.pull.astype(operation.pull_dtype), *given))
    expected = other = _flat(operation.expected)
    if operation.nudge:
        random = np.random.default_rng(len(operation.name))
        other = _flat(
            operation.oracle(operation.pull, *(nudged(value, compute_dtype, random) for value in values))
        )
    rows = zip(operation.parts, operation.terms, found, expected, other, strict=True)
    return [_deviation(operation, *row) for row in rows]


def _flat(answer: Any) -> list[Any]:
    result, gradients = answer
    return [result, *gradients]


def _deviation(
    operation: Operation, part: str, terms: int, found: Any, expected: Wide, other: Wide
) -> Deviation:
    kept, summed = epsilon(found.dtype.name) / 2, sum_error(terms + _INNER_TERMS)
    extreme = _EXTREME_OF_DIFFERENCES if operation.nudge else _EXTREME
    return Deviation(
        operation.name,
        operation.kind,
        part,
        relative_norm(found, expected),
        _MARGIN * (relative_norm(other, expected) + kept + summed),
        worst_element(found, expected),
        _MARGIN * (worst_element(other, expected) + kept + extreme * summed),
    )
