"""Products of two arrays that accumulate in float32, forward and backward."""

from __future__ import annotations

from functools import partial
from itertools import takewhile

import jax
import jax.numpy as jnp
from jax import Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def contract(equation: str, a: Array, b: Array) -> Array:
    """`einsum(equation, a, b)` with a float32 result, whatever the operands' type.

    The derivative rounds the incoming gradient to the operands' type before it multiplies, so that the
    backward products run at the same rate as the forward ones; plain differentiation would multiply
    float32 by bfloat16, for which matrix units have no path.

    Args:
        equation: two operands, each index of which stands in the other operand or in the result.
        a: first operand.
        b: second operand, of the same type.
    """
    return _forward(equation, a, b)[0]


def _forward(equation: str, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    # The product itself and no call to the above: rematerialisation chooses by operation what it keeps.
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32), (a, b)


def _backward(equation: str, residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    a, b = residuals
    operands, result = equation.split("->")
    first, second = operands.split(",")
    gradient = gradient.astype(a.dtype)
    gradient_a = product(f"{result},{second}->{first}", gradient, b)
    gradient_b = product(f"{first},{result}->{second}", a, gradient)
    return gradient_a.astype(a.dtype), gradient_b.astype(b.dtype)


def product(equation: str, a: Array, b: Array) -> Array:
    """`einsum` with a float32 result, which sums over what both operands begin with as over one dimension.

    Of two, XLA for the CPU copies an operand into another order first; of one it multiplies it as it lies.
    """
    operands, result = equation.split("->")
    first, second = operands.split(",")
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    if shared > 1 and not set(first[:shared]) & set(result):
        a, b = (array.reshape(-1, *array.shape[shared:]) for array in (a, b))
        equation = f"{first[shared - 1 :]},{second[shared - 1 :]}->{result}"
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


contract.defvjp(_forward, _backward)
