from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pippin.data.batches import Batches
from pippin.job import TrainTable
from pippin.models import decoder
from pippin.models.parameters import ParameterSpec, parameter_specs
from pippin.models.presets import PRESETS
from pippin.train.digest import flatten
from pippin.train.optimizer import _clip, decayed, make_optimizer

Arrays = dict[str, np.ndarray]


def specs_of(arrays: Arrays) -> dict[str, ParameterSpec]:
    return {name: ParameterSpec(a.shape, ("any",) * a.ndim, 1.0) for name, a in arrays.items()}


def norm_of(gradients: Arrays) -> float:
    return math.sqrt(sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in gradients.values()))


class PlainAdamW:
    """Loshchilov & Hutter, arXiv 1711.05101, algorithm 2, with the decay times the rate, in float64."""

    def __init__(self, train: TrainTable, parameters: Arrays) -> None:
        self.train, self.steps = train, 0
        self.parameters = {name: value.astype(np.float64) for name, value in parameters.items()}
        self.m = {name: np.zeros_like(value) for name, value in self.parameters.items()}
        self.v = {name: np.zeros_like(value) for name, value in self.parameters.items()}

    def step(self, gradients: Arrays, rate: float) -> None:
        t = self.train
        self.steps += 1
        scale = min(1.0, t.clip_norm / norm_of(gradients))
        for name, gradient in gradients.items():
            g = scale * gradient.astype(np.float64)
            self.m[name] = t.beta1 * self.m[name] + (1 - t.beta1) * g
            self.v[name] = t.beta2 * self.v[name] + (1 - t.beta2) * g**2
            m_hat = self.m[name] / (1 - t.beta1**self.steps)
            v_hat = self.v[name] / (1 - t.beta2**self.steps)
            update = m_hat / (np.sqrt(v_hat) + t.epsilon)
            if "norm" not in name:
                update = update + t.weight_decay * self.parameters[name]
            self.parameters[name] = self.parameters[name] - rate * update


@pytest.mark.parametrize("value", [0.0, 0.01, 3.0, math.inf, math.nan])
def test_gradients_are_clipped_as_optax_clips(value: float) -> None:
    """Zeros stay zeros; what is not finite stays so, and the step drops it."""
    gradients = {"a": np.full((2, 3), 0.5 * value, np.float32), "b": np.full(4, value, np.float32)}
    ours, theirs = _clip(1.0), optax.clip_by_global_norm(1.0)
    got, expected = (clip.update(gradients, clip.init(gradients))[0] for clip in (ours, theirs))
    for name in gradients:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-6)
    assert jax.tree.structure(ours.init(gradients)) == jax.tree.structure(theirs.init(gradients))


@pytest.mark.parametrize("clip_norm", [1.0, 1e6])
def test_it_is_adamw(clip_norm: float) -> None:
    train = TrainTable(steps=5, weight_decay=0.3, beta1=0.8, beta2=0.9, epsilon=1e-3, clip_norm=clip_norm)
    generator = np.random.default_rng(0)
    shapes = {"matrix": (4, 6), "final_norm": (6,)}
    parameters = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    plain, optimizer = PlainAdamW(train, parameters), make_optimizer(train, specs_of(parameters))
    state, ours = optimizer.init(parameters), parameters
    for rate in (0.1, 0.02, 0.5, 0.01, 0.3):
        gradients = {n: (3 * generator.normal(size=s)).astype(np.float32) for n, s in shapes.items()}
        updates, state = optimizer.update(gradients, state, ours)
        ours = optax.apply_updates(ours, jax.tree.map(lambda u, rate=rate: -rate * u, updates))
        plain.step(gradients, rate)
    for name, value in plain.parameters.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("length", [0.1, 0.999, 1.001, 50.0])
def test_gradients_longer_than_the_limit_are_cut_to_it_and_others_left(length: float) -> None:
    train = TrainTable(steps=1, clip_norm=1.0, beta1=0.0, weight_decay=0.0)
    gradients = {"a": np.full((3,), 1.0, np.float32), "b": np.full((2, 3), 2.0, np.float32)}
    scale = np.float32(length / norm_of(gradients))
    gradients = {name: value * scale for name, value in gradients.items()}
    optimizer = make_optimizer(train, specs_of(gradients))
    _, (_, adam, _) = optimizer.update(gradients, optimizer.init(gradients), gradients)
    # With beta1 = 0 the first moment is what is left of the gradient.
    assert norm_of(adam.mu) == pytest.approx(min(length, 1.0), rel=1e-5)
    np.testing.assert_allclose(adam.mu["a"] / adam.mu["b"][0], 0.5, rtol=1e-5)  # and its direction stays


def test_weight_decay_leaves_norm_scales_alone(bench: Any) -> None:
    for name in ("pippin-5m", "llama3.1-8b"):
        config = bench.job(model=PRESETS[name]).shape
        mask = flatten(jax.tree.map(bool, decayed(parameter_specs(config))))
        spared = {path for path, shrinks in mask.items() if not shrinks}
        assert spared == {"final_norm", "layers.attention_norm", "layers.ffn_norm"}
        assert ("head" in mask) == (not config.tie_embeddings)


def test_the_compiled_step_is_this_optimiser_on_the_gradient_of_the_loss(bench: Any) -> None:
    """Two steps, with z-loss, against a loss written here and the formula above."""
    job, state = bench.job(), bench.program.initial_state()
    assert job.train.z_loss == 0.01
    plain = PlainAdamW(
        job.train, {name: np.array(leaf) for name, leaf in flatten(state["parameters"]).items()}
    )
    batches = Batches(bench.dataset, sequence_length=32, batch_size=2, seed=3)

    @jax.jit
    def loss(parameters: Any, inputs: Any, targets: Any, segments: Any) -> tuple[jax.Array, jax.Array]:
        hidden = decoder.hidden_states(parameters, inputs, segments, job.shape)
        scores = decoder.logits(parameters, hidden)
        logs = jax.nn.log_softmax(scores)
        entropy = -jnp.mean(jnp.take_along_axis(logs, targets[..., None], -1))
        z = jnp.mean(jax.nn.logsumexp(scores, axis=-1) ** 2)
        return entropy + 0.01 * z, entropy

    for step, rate in enumerate((0.01, 0.003)):
        batch = batches.at(step)
        rows = batch.inputs, batch.targets, batch.segments
        gradients, entropy = jax.jit(jax.grad(loss, has_aux=True))(state["parameters"], *rows)
        flat = {name: np.array(leaf) for name, leaf in flatten(gradients).items()}
        state, result = bench.program.step(state, *rows, rate)
        assert result.loss == pytest.approx(float(entropy), rel=1e-5)  # without the z-loss
        assert result.gradient_norm == pytest.approx(norm_of(flat), rel=1e-4)
        plain.step(flat, rate)
        for name, leaf in flatten(state["parameters"]).items():
            # Adam divides by the gradient's size: where that is near zero, rounding decides the sign.
            np.testing.assert_allclose(leaf, plain.parameters[name], rtol=1e-3, atol=rate / 20, err_msg=name)
            agree = np.isclose(leaf, plain.parameters[name], rtol=1e-4, atol=rate / 1000)
            assert agree.mean() > 0.99, name
