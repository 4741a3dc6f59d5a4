"""Kernels against the naive form, and which backend a use gets.

Splash runs in Pallas' interpreter; cuDNN cannot be lowered without its library, so of it only the choice is
tested.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.catalog.rules import load_rules
from pippin.errors import PippinError
from pippin.models.attention import (
    BACKENDS,
    Use,
    attention_backend,
    choose_attention,
    naive_attention,
    reference_attention,
)
from pippin.models.attention.kernels import splash_attention

H100 = Use("cuda", "bfloat16", 128, 4096, packed=False)


def packed(use: Use) -> Use:
    return Use(use.platform, use.compute_dtype, use.head_dim, use.sequence_length, packed=True)


@pytest.mark.parametrize(
    ("wish", "use", "name", "reason"),
    [
        ("reference", Use("cpu", "float32", 64, 512, packed=True), "reference", "as the chip rule says"),
        ("cudnn", H100, "cudnn", "as the chip rule says"),
        ("cudnn", packed(H100), "reference", "not cudnn: .*document numbers"),
        ("cudnn", Use("cuda", "float32", 128, 4096, packed=False), "reference", "not cudnn: .*16-bit"),
        ("cudnn", Use("cuda", "bfloat16", 20, 4096, packed=False), "reference", "not cudnn: .*not 20"),
        ("cudnn", Use("rocm", "bfloat16", 128, 4096, packed=False), "reference", "not cudnn: .*NVIDIA"),
        ("splash", Use("tpu", "bfloat16", 128, 4096, packed=True), "splash", "as the chip rule says"),
        ("splash", Use("tpu", "bfloat16", 128, 200, packed=True), "reference", "not splash: .*not 200"),
        ("nki", Use("neuron", "bfloat16", 128, 4096, packed=True), "reference", "not nki: no NKI kernel"),
        ("splash", Use("tpu", "bfloat16", 128, 4096, True, 8), "reference", "not splash: .*one device"),
        ("splash", Use("tpu", "bfloat16", 128, 4096, True, 8, 2), "reference", "not splash: .*a ring"),
        (
            "reference",
            Use("cpu", "float32", 64, 512, True, 2, 2),
            "reference",
            "as the chip rule says, .*ring",
        ),
    ],
)
def test_the_reference_takes_the_place_of_what_cannot(wish: str, use: Use, name: str, reason: str) -> None:
    chosen, why = choose_attention(wish, use)
    assert chosen == name
    assert re.match(reason, why)


def test_what_the_job_states_is_not_replaced() -> None:
    assert choose_attention("cudnn", H100, stated=True) == ("cudnn", "as the job says")
    with pytest.raises(PippinError, match=r"'cudnn' cannot be used: .*document numbers"):
        choose_attention("cudnn", packed(H100), stated=True)
    with pytest.raises(PippinError, match="'nki' cannot be used: no NKI kernel"):
        choose_attention("nki", H100, stated=True)
    with pytest.raises(PippinError, match=r"no attention backend named 'flash'.*reference, cudnn, splash"):
        choose_attention("flash", H100)


def test_every_rule_wishes_for_a_backend_that_there_is() -> None:
    assert {rule.attention for _, rule in load_rules()} <= set(BACKENDS)


def test_functions_by_name() -> None:
    assert attention_backend("reference") is reference_attention
    with pytest.raises(PippinError, match="no attention backend named 'nki'"):
        attention_backend("nki")


def test_splash_in_the_interpreter_equals_the_naive_form() -> None:
    """Values and gradients, grouped heads, two documents that do not end where a block does."""
    generator = np.random.default_rng(0)
    q, k, v, pull = (
        jnp.asarray(generator.normal(size=(1, 256, heads, 128)), jnp.float32) for heads in (2, 1, 1, 2)
    )
    segments = jnp.asarray(np.arange(256)[None] > 100, jnp.int32)

    def run(attention: Any) -> Any:
        def total(q: Any, k: Any, v: Any) -> Any:
            out = attention(q, k, v, segments)
            return jnp.sum(out * pull), out

        return jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(q, k, v)

    got, expected = run(partial(splash_attention, interpret=True)), run(naive_attention)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_splash_lowers_for_a_tpu() -> None:
    array = jax.ShapeDtypeStruct((1, 256, 2, 128), jnp.bfloat16)
    segments = jax.ShapeDtypeStruct((1, 256), jnp.int32)

    def total(q: Any, k: Any, v: Any, segments: Any) -> Any:
        return jnp.sum(splash_attention(q, k, v, segments).astype(jnp.float32))

    step = jax.jit(jax.grad(total, (0, 1, 2)))
    module = jax.export.export(step, platforms=["tpu"])(array, array, array, segments).mlir_module()
    assert module.count("tpu_custom_call") >= 3  # forward, and backward by queries and by keys
    assert "256x256" not in module
