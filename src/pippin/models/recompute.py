"""Functions whose backward pass keeps their arguments alone, also where the compiler would rather not.

`jax.checkpoint` separates the second computation from the first by optimisation barriers. XLA for the CPU
removes those early, then merges the two computations, or moves the second ahead of the loss: the arrays that
were not to be kept are kept, for every layer. Here the second computation depends on the incoming gradient,
by a zero that no compiler may take for one, so that it can neither be merged nor come early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def after(array: Array, gradient: Array) -> Array:
    """The same array, not to be had before the gradient is. Not a number if the gradient's first element is
    not finite: the step is dropped then anyway."""
    zero = gradient[(0,) * gradient.ndim] * 0
    return array + zero.astype(array.dtype)


def recomputed(function: Callable[..., Array]) -> Callable[..., Array]:
    """That function of floating-point arrays, computed again in its backward pass from its arguments."""

    @jax.custom_vjp
    def once(*arguments: Array) -> Array:
        return function(*arguments)

    def forward(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
        return function(*arguments), arguments

    def backward(arguments: tuple[Array, ...], gradient: Array) -> Any:
        # Activations are tied; weights, of fewer dimensions, need no copy.
        tied = [after(array, gradient) if jnp.ndim(array) > 2 else array for array in arguments]
        _, pull_back = jax.vjp(function, *tied)
        return pull_back(gradient)

    once.defvjp(forward, backward)
    return once
