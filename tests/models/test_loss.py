from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.models import loss as loss_module
from pippin.models.loss import mean_loss, token_losses
from pippin.plan.framework import PIPPIN

ROWS, WIDTH, VOCABULARY = 2, 6, 23


def some_inputs(length: int) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(length)
    hidden = generator.normal(size=(ROWS, length, WIDTH)).astype(np.float32)
    head = generator.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    targets = generator.integers(0, VOCABULARY, (ROWS, length)).astype(np.int32)
    return hidden, head, targets


def written_out(hidden: Any, head: Any, targets: Any, z_loss: float) -> tuple[Any, Any]:
    scores = jnp.einsum("bse,ve->bsv", hidden, head)
    log_partition = jax.nn.logsumexp(scores, axis=-1)
    losses = log_partition - jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
    return jnp.mean(losses) + z_loss * jnp.mean(log_partition**2), jnp.mean(losses)


@pytest.mark.parametrize(("length", "z_loss"), [(7, 0.1), (12, 0.0)])
def test_values_and_gradients_equal_the_written_out_loss(
    monkeypatch: pytest.MonkeyPatch, length: int, z_loss: float
) -> None:
    """With at most four tokens a chunk and row: a prime length is a loop over single tokens."""
    monkeypatch.setattr(loss_module, "_CHUNK_BYTES", 0)
    monkeypatch.setattr(loss_module, "_CHUNK_TOKENS", 4 * ROWS)
    hidden, head, targets = some_inputs(length)

    def run(function: Any) -> Any:
        # Times three: the incoming gradient of a loss need not be one.
        def tripled(hidden: Any, head: Any) -> Any:
            objective, loss = function(hidden, head, targets, z_loss)
            return 3 * objective, loss

        return jax.jit(jax.value_and_grad(tripled, argnums=(0, 1), has_aux=True))(hidden, head)

    for got, expected in zip(jax.tree.leaves(run(mean_loss)), jax.tree.leaves(run(written_out)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("vocabulary", "tokens"), [(1024, 8192), (8192, 1024), (128_256, 512)])
def test_logits_of_32_mib_are_held_at_once_but_no_fewer_than_512(vocabulary: int, tokens: int) -> None:
    """And the planner counts the same."""
    chunks = jax.eval_shape(lambda x: loss_module._chunks(x, vocabulary), jnp.zeros((4, 4096)))
    assert chunks.shape == (4 * 4096 // tokens, 4, tokens // 4)
    assert (PIPPIN.loss_chunk_tokens, PIPPIN.loss_chunk_bytes) == (512, 1 << 25)


def test_bfloat16_is_close_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "_CHUNK_BYTES", 0)
    monkeypatch.setattr(loss_module, "_CHUNK_TOKENS", 4 * ROWS)
    hidden, head, targets = some_inputs(12)

    def gradients(hidden: Any) -> Any:
        return jax.jit(jax.grad(lambda h, w: mean_loss(h, w, targets, 0.1)[0], (0, 1)))(hidden, head)

    for got, expected in zip(gradients(jnp.asarray(hidden, jnp.bfloat16)), gradients(hidden), strict=True):
        difference = np.linalg.norm(np.asarray(got, np.float32) - expected)
        assert difference < 0.02 * np.linalg.norm(expected)


def test_z_loss_changes_the_objective_and_not_the_reported_loss() -> None:
    hidden, head, targets = some_inputs(7)
    plain, plain_loss = mean_loss(hidden, head, targets, 0.0)
    pulled, pulled_loss = mean_loss(hidden, head, targets, 0.1)
    assert plain == plain_loss == pulled_loss < pulled


def test_token_losses_are_those_of_each_token() -> None:
    hidden, head, targets = some_inputs(12)
    scores = np.einsum("bse,ve->bsv", hidden.astype(float), head.astype(float))
    chosen = np.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
    expected = np.log(np.exp(scores).sum(axis=-1)) - chosen
    np.testing.assert_allclose(token_losses(hidden, head, targets), expected, rtol=1e-5, atol=1e-5)


def test_large_logits_stay_finite() -> None:
    hidden, head, targets = some_inputs(7)
    objective, loss = mean_loss(hidden * 1e4, head, targets, 0.0)
    assert np.isfinite(objective) and loss > 1e3


def test_bfloat16_gradients_are_close_to_float32() -> None:
    """Within 2 %: hidden states, head and gradient by logits are each rounded to 8 bits."""
    hidden, head, targets = some_inputs(12)

    def gradients(hidden: Any) -> Any:
        return jax.grad(lambda h, w: mean_loss(h, w, targets, 0.0)[0], argnums=(0, 1))(hidden, head)

    narrow, wide = gradients(jnp.asarray(hidden, jnp.bfloat16)), gradients(jnp.asarray(hidden))
    assert (narrow[0].dtype, narrow[1].dtype) == (jnp.bfloat16, jnp.float32)
    for got, expected in zip(narrow, wide, strict=True):
        got, expected = np.asarray(got, float), np.asarray(expected, float)
        assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 0.02
