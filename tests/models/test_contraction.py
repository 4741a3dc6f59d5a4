from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pippin
from pippin.models.contraction import contract

# Every equation that the package uses, read from its source: a new one is tested when it is written.
EQUATIONS = sorted(
    {
        equation
        for file in Path(pippin.__file__).parent.rglob("*.py")
        for equation in re.findall(r'\bcontract\(\s*"([^"]+)"', file.read_text())
    }
)


def some_operands(equation: str, sizes: dict[str, int], seed: int = 0) -> list[np.ndarray]:
    """Two operands, and a gradient in the result's shape."""
    generator = np.random.default_rng(seed)
    operands, result = equation.split("->")
    shapes = [[sizes[index] for index in indices] for indices in (*operands.split(","), result)]
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


@partial(jax.jit, static_argnums=(0, 1))
def products(function: Any, equation: str, a: Any, b: Any, pull: Any) -> list[Any]:
    value, backward = jax.vjp(lambda a, b: function(equation, a, b), a, b)
    return [value, *backward(pull)]


def reference(equation: str, a: Any, b: Any) -> Any:
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def test_the_equations_were_found() -> None:
    assert {"bskgd,btkd->bkgst", "bse,ef->bsf", "bsf,fe->bse"} <= set(EQUATIONS)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(EQUATIONS), st.data())
def test_value_and_gradients_equal_those_of_einsum(equation: str, data: st.DataObject) -> None:
    # Few sizes, because each new shape is compiled.
    sizes = {
        index: data.draw(st.sampled_from([1, 3]), label=index) for index in re.findall(r"[a-z]", equation)
    }
    a, b, pull = some_operands(equation, sizes, data.draw(st.integers(0, 99)))
    expected = products(reference, equation, a, b, pull)
    for got, wanted in zip(products(contract, equation, a, b, pull), expected, strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_bfloat16_accumulates_in_float32_and_returns_gradients_in_its_own_type(equation: str) -> None:
    sizes = {index: 2 + place for place, index in enumerate(sorted(set(re.findall(r"[a-z]", equation))))}
    a, b, pull = some_operands(equation, sizes)
    narrow_a, narrow_b = jnp.asarray(a, jnp.bfloat16), jnp.asarray(b, jnp.bfloat16)
    value, by_a, by_b = products(contract, equation, narrow_a, narrow_b, pull)
    assert (value.dtype, by_a.dtype, by_b.dtype) == (jnp.float32, jnp.bfloat16, jnp.bfloat16)
    exact = np.einsum(equation, np.asarray(narrow_a, float), np.asarray(narrow_b, float))
    # The rounded operands' product, to float32: a result rounded to bfloat16 would be off by up to 2^-9.
    np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-5)
    operands, result = equation.split("->")
    first, second = operands.split(",")
    for got, (indices, other), target in (
        (by_a, (f"{result},{second}", np.asarray(narrow_b, float)), first),
        (by_b, (f"{result},{first}", np.asarray(narrow_a, float)), second),
    ):
        wanted = np.einsum(f"{indices}->{target}", pull.astype(float), other)
        # The incoming gradient and the outgoing one are each rounded to 8 bits.
        error = np.linalg.norm(np.asarray(got, float) - wanted) / np.linalg.norm(wanted)
        assert error < 0.01
