"""Second computations that stay second, also where the compiler would rather not.

`jax.checkpoint` separates the second computation from the first by optimisation barriers. XLA for the CPU
removes those early, then merges the two computations, or moves the second ahead of the loss: the arrays that
were not to be kept are kept, for every layer. Here the second computation depends on the incoming gradient,
by a zero that no compiler may take for one, so that it can neither be merged nor come early.
"""

from __future__ import annotations

from jax import Array


def after(array: Array, gradient: Array) -> Array:
    """The same array, not to be had before the gradient is. Not a number if the gradient's first element is
    not finite: the step is dropped then anyway."""
    zero = gradient[(0,) * gradient.ndim] * 0
    return array + zero.astype(array.dtype)
