"""How far results may be apart: number formats, one unit in the last place, and the two distances."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.float64]
# The largest whole number up to which float32 holds every one.
EXACT_IN_FLOAT32 = 2**24
_FLOAT32_UNIT = 2.0**-24


def epsilon(dtype: str) -> float:
    """The distance from 1 to the next number of a format."""
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def sum_error(terms: int) -> float:
    """The relative error of a float32 sum of so many terms, whatever their order.

    Each addition rounds by up to half a unit, either way: errors of a chain of n add up like a random walk,
    to the square root of n times a unit, and of a tree to less (Higham and Mary, SIAM J. Sci. Comput. 41,
    2019, A2815).
    """
    return float(_FLOAT32_UNIT * np.sqrt(terms))


def rounded(values: npt.ArrayLike, dtype: str) -> Wide:
    """To the nearest number of a format, held in float64."""
    return np.asarray(values, np.float64).astype(np.dtype(dtype)).astype(np.float64)


def nudged(values: Wide, dtype: str, random: np.random.Generator) -> Wide:
    """Each value moved by one unit in the last place of a format: up, down, or not at all."""
    exponents = np.frexp(values)[1] - 1
    moved: Wide = values + random.integers(-1, 2, values.shape) * np.ldexp(epsilon(dtype), exponents)
    return moved


def relative_norm(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """The norm of the difference over the norm of what is expected; infinite where a number is none."""
    expected = np.asarray(expected, np.float64)
    difference = float(np.linalg.norm(np.ravel(np.asarray(found, np.float64) - expected)))
    scale = float(np.linalg.norm(np.ravel(expected)))
    return _finite(difference / scale if scale else difference)


def worst_element(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """The largest difference of an element, over its own size plus the root mean square of all."""
    expected = np.asarray(expected, np.float64)
    scale = np.abs(expected) + np.sqrt(np.mean(expected**2))
    difference = np.abs(np.asarray(found, np.float64) - expected)
    return _finite(float(np.max(difference / np.where(scale, scale, 1))))


# Beyond this nothing more is said by a number, and a report holds no infinity.
LARGEST = 1e9


def _finite(distance: float) -> float:
    return min(distance, LARGEST) if np.isfinite(distance) else LARGEST
