"""Chips that compute wrongly: a function's own operations, some of them replaced.

The function is traced, and its operations are carried out one after another, inside loops and derivatives
too; the ones that the broken chip gets wrong go to a stand-in. So whatever the program under test asks of
the chip, forward or backward, comes out as that chip would have it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Literal

# Takes what the operation would have given, its operands, and its parameters.
Fake = Callable[..., Any]


def broken(**fakes: Fake) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A change for `Computer`: operations of these names (`dot_general`, `exp`) give what the fakes give."""

    def change(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def changed(*arguments: Any) -> Any:
            traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
            out = _run(traced, jax.tree.leaves(arguments), fakes)
            return jax.tree.unflatten(jax.tree.structure(shape), out)

        return changed

    return change


def _run(closed: ClosedJaxpr, arguments: Any, fakes: dict[str, Fake]) -> list[Any]:
    jaxpr, known = closed.jaxpr, {}

    def read(place: Any) -> Any:
        return place.val if isinstance(place, Literal) else known[place]

    known.update(zip(jaxpr.constvars, closed.consts, strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))
    for step in jaxpr.eqns:
        out = _step(step, [read(place) for place in step.invars], fakes)
        known.update(zip(step.outvars, out, strict=True))
    return [read(place) for place in jaxpr.outvars]


def _step(step: Any, values: list[Any], fakes: dict[str, Fake]) -> list[Any]:
    name, parameters = step.primitive.name, step.params
    if name == "scan":
        return _scan(parameters, values, fakes)
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in parameters:
            inner = parameters[key]
            closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            return _run(closed, values, fakes)
    assert name not in ("while", "cond", "shard_map"), name
    out = step.primitive.bind(*values, **parameters)
    out = list(out) if step.primitive.multiple_results else [out]
    return [fakes[name](out[0], *values, **parameters)] if name in fakes else out


def _scan(parameters: dict[str, Any], values: list[Any], fakes: dict[str, Fake]) -> list[Any]:
    consts, carry = parameters["num_consts"], parameters["num_carry"]
    fixed, start, rows = values[:consts], values[consts : consts + carry], values[consts + carry :]

    def body(state: Any, row: Any) -> tuple[Any, Any]:
        out = _run(parameters["jaxpr"], [*fixed, *state, *row], fakes)
        return out[:carry], out[carry:]

    length, reverse = parameters["length"], parameters["reverse"]
    last, stacked = lax.scan(body, start, rows, length=length, reverse=reverse, unroll=parameters["unroll"])
    return [*last, *stacked]


def _product(a: Array, b: Array, parameters: dict[str, Any], **more: Any) -> Any:
    kept = {key: parameters[key] for key in ("dimension_numbers", "precision", "preferred_element_type")}
    return lax.dot_general(a, b, **(kept | more))


def _part(a: Array, b: Array, start: float, stop: float, parameters: dict[str, Any]) -> Any:
    """The product of some of the terms, shares of the longest summed dimension."""
    place = max(parameters["dimension_numbers"][0][0], key=lambda axis: a.shape[axis])
    length = a.shape[place]
    index = jnp.arange(length).reshape([length if axis == place else 1 for axis in range(a.ndim)])
    kept = (index >= round(start * length)) & (index < round(stop * length))
    return _product(jnp.where(kept, a, 0), b, parameters)


def without_last_block(out: Any, a: Any, b: Any, **parameters: Any) -> Any:
    """The product without the last eighth of its terms."""
    return _part(a, b, 0, 7 / 8, parameters)


def one_in_ten_thousand(out: Any, a: Any, b: Any, **parameters: Any) -> Any:
    """One element of ten thousand is twice what it should be."""
    place = np.arange(out.size).reshape(out.shape) % 10_000 == 5_000 % max(out.size, 1)
    return jnp.where(place, 2 * out, out)


def narrow_sums(out: Any, a: Any, b: Any, **parameters: Any) -> Any:
    """Sums that are kept in bfloat16 from one eighth of the terms to the next."""
    total = jnp.zeros(out.shape, jnp.bfloat16)
    for block in range(8):
        total += _part(a, b, block / 8, (block + 1) / 8, parameters).astype(jnp.bfloat16)
    return total.astype(out.dtype)


def only_of(size: int, fake: Fake) -> Fake:
    """The fake, of products that have a dimension of this size."""

    def some(out: Any, a: Any, b: Any, **parameters: Any) -> Any:
        return fake(out, a, b, **parameters) if size in (*a.shape, *b.shape) else out

    return some


def rough(out: Any, *values: Any, **parameters: Any) -> Any:
    """A function that is a thousandth too large, but for where it is just one (a softmax would not mind)."""
    return jnp.where(out == 1, out, 1.001 * out).astype(out.dtype)
