"""What a target cannot run is found, at the line of our code that wrote it; what it can is let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array, lax
from jax.experimental import io_callback, sparse

from pippin.portability.limits import TARGETS, load_limits
from pippin.portability.lint import lint
from pippin.portability.lowering import lower_each

from spoiling import here  # isort: skip

X = jax.ShapeDtypeStruct((4, 4), jnp.float32)


def threefry(x: Array) -> Array:
    key = jax.random.key(0, impl="threefry2x32")
    return x + jax.random.normal(key, x.shape)  # here


def split_key(x: Array) -> Array:
    key = jax.random.split(jax.random.key(0, impl="rbg"))[0]  # here
    return x + jax.random.uniform(key, x.shape)


def cond(x: Array) -> Array:
    return lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x)  # here


def platform_dependent(x: Array) -> Array:
    return lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)  # here


def debug_callback(x: Array) -> Array:
    jax.debug.print("{}", x)  # here
    return x


def pure_callback(x: Array) -> Array:
    return jax.pure_callback(lambda x: x, X, x)  # here


def ordered_callback(x: Array) -> Array:
    return io_callback(lambda x: x, X, x)  # here


def argmax(x: Array) -> Array:
    return jnp.argmax(x, axis=1)  # here


def argsort(x: Array) -> Array:
    return jnp.argsort(x)  # here


def top_k(x: Array) -> Array:
    return lax.top_k(x, 2)[0]  # here


def complex_numbers(x: Array) -> Array:
    return jnp.abs(lax.complex(x, x))  # here


def fourier(x: Array) -> Array:
    return jnp.abs(jnp.fft.rfft(x))  # here


def sparse_product(x: Array) -> Array:
    return sparse.bcoo_fromdense(x, nse=4) @ x  # here


def integer_product(x: Array) -> Array:
    return x.astype(jnp.int8) @ x.astype(jnp.int8)  # here


def dynamic_while(x: Array) -> Array:
    return lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x * 2, x)  # here


def dynamic_count(x: Array) -> Array:
    return lax.fori_loop(0, x[0, 0].astype(jnp.int32), lambda i, x: x * 2, x)  # here


def dlpack(x: Array) -> Array:
    return jnp.from_dlpack(x)  # here


def narrowed(x: Array) -> Array:
    return lax.reduce_precision(x, 5, 2)  # here


def eight_bits(x: Array) -> Array:
    return x.astype(jnp.float8_e4m3fn).astype(x.dtype)  # here


def random_integers(x: Array) -> Array:
    return x + jax.random.randint(jax.random.key(0, impl="rbg"), x.shape, 0, 9)  # here


EVERYWHERE, NEURON = set(TARGETS), {"neuron"}
FORBIDDEN: list[tuple[Callable[[Array], Any], str, set[str]]] = [
    (threefry, "threefry", EVERYWHERE),
    (split_key, "threefry", EVERYWHERE),
    (debug_callback, "callback", EVERYWHERE),
    (pure_callback, "callback", EVERYWHERE),
    (ordered_callback, "callback", EVERYWHERE),
    (dlpack, "dlpack", EVERYWHERE),
    (cond, "conditional", NEURON),
    (platform_dependent, "conditional", NEURON),
    (argmax, "reduction of several arrays", NEURON),
    (argsort, "sort of several arrays", NEURON),
    (top_k, "top-k", NEURON),
    (complex_numbers, "complex numbers", NEURON),
    (fourier, "complex numbers", NEURON),
    (sparse_product, "sparse arrays", NEURON),
    (integer_product, "integer product", NEURON),
    (dynamic_while, "dynamic loop", NEURON),
    (dynamic_count, "dynamic loop", NEURON),
    (narrowed, "reduced precision", NEURON),
    (eight_bits, "8-bit floats", NEURON),
    (random_integers, "random integers", NEURON),
]


@pytest.mark.parametrize(
    ("step", "limit", "targets"), FORBIDDEN, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_a_target_lacks_is_found_at_its_line(
    step: Callable[[Array], Any], limit: str, targets: set[str]
) -> None:
    outcomes = lower_each(lambda: jax.jit(step).trace(X), TARGETS, "rbg")
    for target in TARGETS:
        found = [each for each in lint(outcomes, target).findings if each.limit == limit]
        assert {each.place for each in found} == ({here(step)} if target in targets else set()), target
        assert all(each.why and each.fix and each.source for each in found)


def test_every_limit_is_tried() -> None:
    tried = {limit for _, limit, _ in FORBIDDEN} | {"host transfer", "library call"}
    limits = load_limits()
    assert tried == {each.name for each in (*limits.limit, *limits.failure)}
    assert {each.source for each in limits.limit} <= limits.sources.keys()


def clean(x: Array) -> Array:
    """Loops of a known length, the generator rbg, one array sorted, a product of floats, a select."""
    x = x + jax.random.normal(jax.random.key(0, impl="rbg"), x.shape)
    x = lax.fori_loop(0, 3, lambda i, x: x * 2, x)
    x, _ = lax.scan(lambda carry, row: (carry + row, None), x, jnp.stack([x, x]))
    kept = lax.reduce_precision(x, 8, 23).astype(jnp.float8_e5m2).astype(x.dtype)
    return jnp.where(x > 0, jnp.sort(x @ kept), jnp.max(x))


def test_what_every_target_has_is_let_through() -> None:
    outcomes = lower_each(lambda: jax.jit(clean).trace(X), TARGETS, "rbg")
    assert len({outcome.sha256 for outcome in outcomes.values()}) == 1
    assert [lint(outcomes, target).findings for target in TARGETS] == [[]] * len(TARGETS)
    # What leaves every value as it is counts as an exception, and is named.
    (named,) = lint(outcomes, "neuron").allowed
    assert named.limit == "reduced precision" and named.untried and named.to_json()["untried"] is True
    assert "does not support lax.reduce_precision. Allowed: jax.checkpoint writes it" in named.why


def test_two_calls_of_one_function_are_two_lines() -> None:
    def step(x: Array) -> Array:
        first = jnp.argmax(x)
        return first + jnp.argmax(x)

    outcomes = lower_each(lambda: jax.jit(step).trace(X), ["neuron"], "rbg")
    first = step.__code__.co_firstlineno
    lines = {each.place.line for each in lint(outcomes, "neuron").findings if each.place}
    assert lines == {first + 1, first + 2}


def test_a_library_call_is_found_and_a_kernel_only_where_it_belongs() -> None:
    from pippin.models.attention.kernels import splash_attention
    from pippin.portability.lint import lint_operations

    arrays = [jax.ShapeDtypeStruct((1, 128, heads, 64), jnp.bfloat16) for heads in (4, 2, 2)]
    segments = jax.ShapeDtypeStruct((1, 128), jnp.int32)
    outcomes = lower_each(lambda: jax.jit(splash_attention).trace(*arrays, segments), ["tpu"], "rbg")
    on_tpu, on_cuda = (lint_operations(outcomes["tpu"].operations, target) for target in ("tpu", "cuda"))
    assert [(each.limit, each.untried) for each in on_tpu.allowed] == [("library call", False)]
    assert not on_tpu.findings
    assert [each.limit for each in on_cuda.findings] == ["library call"]


def test_an_error_without_a_name_has_its_line() -> None:
    def step(x: Array) -> Array:
        return x + jnp.ones(3)  # here

    outcomes = lower_each(lambda: jax.jit(step).trace(X), ["cpu"], "rbg")
    (found,) = lint(outcomes, "cpu").findings
    assert found.limit == "lowering" and found.place == here(step)
    assert "shape" in found.operation
