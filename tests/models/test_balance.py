"""The router's losses add up from parts of a batch, and pull where the load was high."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.models.balance import (
    even_load,
    load_balance_loss,
    next_load,
    router_metrics,
    router_objective,
    router_z_loss,
)
from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.moe import RouterReport, route

MOE = MoEConfig(num_experts=4, top_k=2, ffn_dim=8, load_balance_weight=0.01, router_z_weight=0.001)
LOAD = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]], np.float32)
run_router = jax.jit(route, static_argnums=2)


def stacked(*reports: RouterReport) -> RouterReport:
    """One report a layer."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *reports)


def two_layers(tokens: np.ndarray) -> RouterReport:
    routers = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    return stacked(*(run_router(tokens, router, MOE)[1] for router in routers))


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 8, 6)).astype(np.float32)


def test_losses_by_hand() -> None:
    report = RouterReport(
        assignments=jnp.array([[6.0, 2.0, 0.0, 0.0]]),
        probabilities=jnp.array([[2.0, 1.0, 0.6, 0.4]]),
        squared_log_partition=jnp.array([8.0]),
        dropped=jnp.array([1.0]),
        tokens=jnp.array([4.0]),
    )
    load = jnp.array([[0.4, 0.3, 0.2, 0.1]])
    # 4 x (0.4 x 2 + 0.3 x 1 + 0.2 x 0.6 + 0.1 x 0.4) / 4 tokens; 8 / 4 tokens.
    np.testing.assert_allclose(load_balance_loss(report, load, 4), [1.26], rtol=1e-6)
    np.testing.assert_allclose(router_z_loss(report, 4), [2.0])
    assert float(router_objective(report, load, MOE, 4)) == pytest.approx(0.01 * 1.26 + 0.001 * 2)
    np.testing.assert_allclose(next_load(report), [[0.75, 0.25, 0, 0]])
    metrics = router_metrics(report, load)
    np.testing.assert_allclose(metrics["expert_load"], [3.0])  # 6 where 2 would be even
    assert float(metrics["dropped_tokens_share"]) == 1 / 8
    assert float(metrics["load_balance_loss"]) == pytest.approx(1.26)
    assert float(metrics["router_z_loss"]) == 2


def test_even_routing_costs_one_a_layer() -> None:
    config = ModelConfig(
        vocab_size=9, d_model=4, num_layers=2, num_heads=1, num_kv_heads=1, ffn_dim=4, moe=MOE
    )
    assert even_load(config).shape == (2, 4)
    report = two_layers(np.zeros((1, 8, 6), np.float32))
    np.testing.assert_allclose(load_balance_loss(report, even_load(config), 8), [1, 1], rtol=1e-6)


def objective(tokens: Any, num_tokens: int) -> tuple[Any, Any]:
    return jax.value_and_grad(lambda t: router_objective(two_layers(t), LOAD, MOE, num_tokens))(tokens)


def test_parts_of_a_batch_add_up_in_value_and_gradient(tokens: np.ndarray) -> None:
    """Split by sequences as micro-batches are, and along the sequence as a context axis does."""
    whole, gradient = objective(tokens, 32)
    for axis in (0, 1):
        parts = [objective(part, 32) for part in np.split(tokens, 2, axis)]
        assert float(whole) == pytest.approx(sum(float(value) for value, _ in parts), rel=1e-6)
        joined = np.concatenate([part for _, part in parts], axis)
        np.testing.assert_allclose(gradient, joined, rtol=1e-5, atol=1e-9)


def test_the_load_of_a_part_would_give_another_loss(tokens: np.ndarray) -> None:
    """Why the last step's load is used: with a part's own the parts do not add up to the whole."""
    own = [
        float(jnp.sum(load_balance_loss(report := two_layers(part), next_load(report), 32)))
        for part in np.split(tokens, 2)
    ]
    report = two_layers(tokens)
    whole = float(jnp.sum(load_balance_loss(report, next_load(report), 32)))
    assert abs(sum(own) - whole) > 1e-3


def test_the_loss_lowers_what_was_loaded_and_leaves_the_load_alone() -> None:
    report = two_layers(np.ones((1, 2, 6), np.float32))

    def loss(probabilities: Any, load: Any) -> Any:
        return jnp.sum(load_balance_loss(report._replace(probabilities=probabilities), load, 2))

    by_probabilities, by_load = jax.grad(loss, (0, 1))(report.probabilities, jnp.asarray(LOAD))
    np.testing.assert_allclose(by_probabilities, 4 * LOAD / 2)
    assert not np.any(by_load)


@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4).filter(any))
def test_the_next_load_is_a_share(counts: list[int]) -> None:
    zero = np.zeros(1, np.float32)
    report = RouterReport(np.array([counts], np.float32), zero, zero, zero, zero)  # type: ignore[arg-type]
    load = np.asarray(next_load(report))
    assert load.sum() == pytest.approx(1, rel=1e-5) and load.min() >= 0


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_descent_evens_the_load(weight: float) -> None:
    """A router that prefers one expert for every token, and nothing else to learn."""
    moe = MOE.model_copy(update={"load_balance_weight": weight, "router_z_weight": 0.0})
    tokens = np.random.default_rng(0).normal(0.5, 1, (4, 32, 6)).astype(np.float32)

    @jax.jit
    def step(router: Any, load: Any) -> tuple[Any, Any, Any]:
        def objective(router: Any) -> tuple[Any, Any]:
            report = stacked(route(jnp.asarray(tokens), router, moe)[1])
            return router_objective(report, load, moe, 128), report

        gradient, report = jax.grad(objective, has_aux=True)(router)
        return router - gradient, next_load(report), router_metrics(report, load)["expert_load"][0]

    router = jnp.zeros((6, 4), jnp.float32).at[:, 0].set(1.0).at[:, 1].set(-1.0)
    load, seen = jnp.full((1, 4), 0.25), []
    for _ in range(100):
        router, load, busiest = step(router, load)
        seen.append(float(busiest))
    assert seen[0] > 1.5
    assert (seen[-1] < seen[0] - 0.3) == (weight > 0)
