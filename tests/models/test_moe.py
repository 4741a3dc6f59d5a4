"""The mixture of experts against every token's experts computed one by one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.models.config import MoEConfig
from pippin.models.moe import expert_capacity, mixture_of_experts, route, top_experts

BATCH, LENGTH, WIDTH, EXPERTS, INNER = 2, 13, 12, 5, 9


def moe_config(**changes: Any) -> MoEConfig:
    return MoEConfig(**{"num_experts": EXPERTS, "top_k": 2, "ffn_dim": INNER} | changes)


@pytest.fixture(scope="module")
def layer() -> dict[str, jax.Array]:
    generator = np.random.default_rng(0)
    shapes = {
        "router": (WIDTH, EXPERTS),
        "expert_gate": (EXPERTS, WIDTH, INNER),
        "expert_up": (EXPERTS, WIDTH, INNER),
        "expert_down": (EXPERTS, INNER, WIDTH),
    }
    return {name: jnp.asarray(generator.normal(0, 0.5, shape), jnp.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def tokens() -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=(BATCH, LENGTH, WIDTH)), jnp.float32)


run = jax.jit(mixture_of_experts, static_argnums=2)
run_router = jax.jit(route, static_argnums=2)


def every_expert(h: Any, layer: Any, moe: MoEConfig, kept: Any = None) -> Any:
    """All experts on all tokens, weighed by what the router chose; `kept` (B, S, X) leaves choices out."""
    probabilities = jax.nn.softmax(h @ layer["router"])
    best, chosen = jax.lax.top_k(probabilities, moe.top_k)
    if moe.normalize_top_k:
        best = best / best.sum(-1, keepdims=True)
    weights = jnp.sum(best[..., None] * jax.nn.one_hot(chosen, EXPERTS), axis=2)
    if kept is not None:
        weights = weights * kept
    gate = jnp.einsum("bse,xef->bsxf", h, layer["expert_gate"])
    inner = jax.nn.silu(gate) * jnp.einsum("bse,xef->bsxf", h, layer["expert_up"])
    return jnp.einsum("bsxf,xfe,bsx->bse", inner, layer["expert_down"], weights)


def by_hand_kept(h: Any, layer: Any, moe: MoEConfig, capacity: int) -> np.ndarray:
    """Which choices fit: of each sequence, one token after the other."""
    chosen = np.argsort(-np.asarray(h) @ np.asarray(layer["router"]), axis=-1)[..., : moe.top_k]
    kept = np.zeros((BATCH, LENGTH, EXPERTS))
    for row in range(BATCH):
        used = np.zeros(EXPERTS, int)
        for place in range(LENGTH):
            for choice in range(moe.top_k):
                expert = int(chosen[row, place, choice])
                kept[row, place, expert] = used[expert] < capacity
                used[expert] += 1
    return kept


def outputs_and_gradients(function: Any, h: Any, layer: Any) -> tuple[Any, Any]:
    pull = jnp.asarray(np.random.default_rng(2).normal(size=h.shape), jnp.float32)

    def scalar(h: Any, layer: Any) -> Any:
        out = function(h, layer)
        return jnp.sum(out * pull), out

    (_, out), gradients = jax.jit(jax.value_and_grad(scalar, (0, 1), has_aux=True))(h, layer)
    return out, gradients


@pytest.mark.parametrize(("top_k", "normalize"), [(1, False), (3, True)])
@pytest.mark.parametrize("capacity_factor", [None, 5.0], ids=["dropless", "roomy"])
def test_output_and_gradients_are_those_of_every_expert(
    layer: Any, tokens: Any, normalize: bool, top_k: int, capacity_factor: float | None
) -> None:
    moe = moe_config(top_k=top_k, normalize_top_k=normalize, capacity_factor=capacity_factor)
    got = outputs_and_gradients(lambda h, w: mixture_of_experts(h, w, moe)[0], tokens, layer)
    expected = outputs_and_gradients(lambda h, w: every_expert(h, w, moe), tokens, layer)
    assert float(jnp.std(expected[0])) > 0.1
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [0.7])
def test_beyond_its_capacity_an_expert_drops_the_later_choices(
    layer: Any, tokens: Any, factor: float
) -> None:
    moe = moe_config(capacity_factor=factor)
    kept = by_hand_kept(tokens, layer, moe, expert_capacity(moe, LENGTH, EXPERTS))
    got = outputs_and_gradients(lambda h, w: mixture_of_experts(h, w, moe)[0], tokens, layer)
    expected = outputs_and_gradients(lambda h, w: every_expert(h, w, moe, kept), tokens, layer)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    _, report = run(tokens, layer, moe)
    dropped = BATCH * LENGTH * moe.top_k - kept.sum()
    assert report.dropped == dropped > 0


def test_capacity_is_the_fair_share_times_the_factor() -> None:
    assert expert_capacity(moe_config(capacity_factor=1.0), 10, 5) == 4
    assert expert_capacity(moe_config(capacity_factor=1.26), 10, 5) == 6
    assert expert_capacity(moe_config(capacity_factor=9.0), 10, 5) == 10  # a token meets an expert once


def test_report_holds_sums_over_tokens(layer: Any, tokens: Any) -> None:
    moe = moe_config()
    _, report = run(tokens, layer, moe)
    scores = np.asarray(tokens, np.float64) @ np.asarray(layer["router"], np.float64)
    partition = np.log(np.exp(scores).sum(-1))
    np.testing.assert_allclose(report.probabilities, np.exp(scores - partition[..., None]).sum((0, 1)), 1e-5)
    np.testing.assert_allclose(report.squared_log_partition, (partition**2).sum(), 1e-5)
    chosen = np.argsort(-scores, axis=-1)[..., :2]
    np.testing.assert_array_equal(report.assignments, np.bincount(chosen.ravel(), minlength=EXPERTS))
    assert report.tokens == BATCH * LENGTH and report.dropped == 0
    halves = [run(np.asarray(tokens)[part], layer, moe)[1] for part in (slice(1), slice(1, None))]
    for whole, first, second in zip(report, *halves, strict=True):
        np.testing.assert_allclose(whole, first + second, rtol=1e-5)


def test_the_router_is_float32_whatever_the_compute_type(layer: Any, tokens: Any) -> None:
    """Rounded tokens give the scores of the rounded tokens, to float32's precision."""
    narrow = tokens.astype(jnp.bfloat16)
    routing, report = run_router(narrow, layer["router"], moe_config())
    wide, same = run_router(narrow.astype(jnp.float32), layer["router"], moe_config())
    np.testing.assert_array_equal(routing.experts, wide.experts)
    np.testing.assert_allclose(report.squared_log_partition, same.squared_log_partition, rtol=1e-6)
    out, _ = run(narrow, layer, moe_config())
    assert out.dtype == jnp.bfloat16 and report.probabilities.dtype == jnp.float32
    exact, _ = run(narrow.astype(jnp.float32), layer, moe_config())
    assert 1e-4 < float(jnp.linalg.norm(out - exact) / jnp.linalg.norm(exact)) < 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 6]), st.booleans())
def test_top_experts_are_those_of_top_k(seed: int, top_k: int, ties: bool) -> None:
    scores = np.random.default_rng(seed).normal(size=(2, 3, 6)).astype(np.float32)
    if ties:
        scores = np.abs(scores.round())
    expected = np.argsort(-scores, axis=-1, kind="stable")[..., :top_k]
    got = jax.jit(top_experts, static_argnums=1)(scores, top_k)
    np.testing.assert_array_equal(got, np.moveaxis(expected, -1, 1))


def test_scores_that_are_no_numbers_stay_in_bounds() -> None:
    found = top_experts(jnp.full((1, 1, 4), jnp.nan), 2)
    assert int(found.max()) < 4


def test_what_is_dropped_of_a_token_depends_on_none_after_it(layer: Any, tokens: Any) -> None:
    moe = moe_config(capacity_factor=0.6)
    whole, _ = run(tokens, layer, moe)
    changed, _ = run(tokens.at[:, 7:].set(-tokens[:, 7:]), layer, moe)
    np.testing.assert_allclose(changed[:, :7], whole[:, :7], rtol=1e-6, atol=1e-6)
    assert float(jnp.abs(changed[:, 7:] - whole[:, 7:]).max()) > 0.1
