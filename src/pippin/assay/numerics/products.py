"""Matrix products of whole numbers: every correct chip gives the same bits, so nothing is tolerated.

Operands are whole numbers so small that each product, and each sum of products in any order, is one that
float32 holds. A chip that adds up in float32 or wider gives exactly the whole number; one that leaves out
a part, errs in one element of many, or adds up in a narrower type does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.assay.numerics.operation import Operation
from pippin.assay.numerics.rounding import EXACT_IN_FLOAT32

# bfloat16 holds whole numbers up to 256.
_LARGEST = 127


@dataclass(frozen=True)
class WholeProduct:
    """One product of whole numbers: elements of its result, and how many were wrong."""

    operation: str
    part: str
    terms: int
    elements: int
    wrong: int
    largest_error: float


def compare_whole(operation: Operation, run: Callable[..., Any]) -> list[WholeProduct]:
    """A product forward and backward, `run` being `operation.on` a chip, on whole numbers."""
    random = np.random.default_rng([len(operation.name), *operation.terms])
    largest = min(_LARGEST, int(np.sqrt(EXACT_IN_FLOAT32 / max(operation.terms))))

    def draw(shape: tuple[int, ...], dtype: str) -> Any:
        return random.integers(-largest, largest + 1, shape).astype(np.dtype(dtype))

    given = [draw(each.value.shape, each.dtype) for each in operation.inputs]
    pull = draw(operation.pull.shape, operation.pull_dtype)
    value, gradients = run(pull, *given)
    exact, by = operation.oracle(*(array.astype(np.float64) for array in (pull, *given)))
    rows = zip(operation.parts, operation.terms, (value, *gradients), (exact, *by), strict=True)
    return [_compared(operation.name, *row) for row in rows]


def _compared(name: str, part: str, terms: int, found: Any, exact: Any) -> WholeProduct:
    # Gradients are kept in the operands' type: the nearest number of it is as well defined.
    difference = np.abs(found.astype(np.float64) - exact.astype(found.dtype).astype(np.float64))
    wrong = int(np.count_nonzero(~(difference == 0)))
    largest = float(np.max(difference)) if np.all(np.isfinite(difference)) else float(EXACT_IN_FLOAT32)
    return WholeProduct(name, part, terms, found.size, wrong, largest)
