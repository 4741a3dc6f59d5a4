"""The reference: the decoder and its training step as one would first write them, in float32.

Whole score arrays, whole logits, products in the highest precision, plain differentiation: no kernel, no
fused loss and no derivative of the model's own is in it. It runs on the CPU, also beside another chip.

Shapes as in `models.decoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from pippin.job import Job
from pippin.models.config import ModelConfig
from pippin.models.decoder import head_matrix, rotary_angles
from pippin.models.parameters import parameter_specs
from pippin.train.optimizer import make_optimizer
from pippin.train.step import State, StepResult

Parameters = dict[str, Any]


class Outputs(NamedTuple):
    """The stream after the embedding and after each layer (L + 1, B, S, E), and the logits (B, S, V)."""

    streams: Any
    logits: Any


def plain_forward(parameters: Parameters, tokens_BS: Array, segments_BS: Array, c: ModelConfig) -> Outputs:
    """Streams and logits of a dense shape."""
    place = jnp.arange(tokens_BS.shape[1], dtype=jnp.int32)
    cosine, sine = (
        angle[:, None] for angle in rotary_angles(place, c.head_dim, c.rope_theta, c.rope_scaling)
    )
    seen_BST = (place[:, None] >= place) & (segments_BS[:, :, None] == segments_BS[:, None])

    def norm(x: Array, scale: Array) -> Array:
        return x / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + c.norm_epsilon) * scale

    def turned(x: Array) -> Array:
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    def heads(h: Array, layer: Parameters, name: str) -> Array:
        x = _product("bse,ehd->bshd", h, layer[name])
        if name == "value":
            return x
        return turned(norm(x, layer[f"{name}_norm"]) if c.qk_norm else x)

    def attention(h: Array, layer: Parameters) -> Array:
        q, k, v = (heads(h, layer, name) for name in ("query", "key", "value"))
        k, v = (jnp.repeat(x, c.num_heads // c.num_kv_heads, axis=2) for x in (k, v))
        scores = _product("bshd,bthd->bhst", q, k) / np.sqrt(c.head_dim)
        weights = jax.nn.softmax(jnp.where(seen_BST[:, None], scores, -1e30), axis=-1)
        return _product("bshd,hde->bse", _product("bhst,bthd->bshd", weights, v), layer["output"])

    def block(x: Array, layer: Parameters) -> tuple[Array, Array]:
        x = x + attention(norm(x, layer["attention_norm"]), layer)
        h = norm(x, layer["ffn_norm"])
        gate, up = (_product("bse,ef->bsf", h, layer[name]) for name in ("gate", "up"))
        x = x + _product("bsf,fe->bse", jax.nn.silu(gate) * up, layer["down"])
        return x, x

    x = parameters["embedding"][tokens_BS]
    last, streams = lax.scan(block, x, parameters["layers"])
    scores = _product("bse,ve->bsv", norm(last, parameters["final_norm"]), head_matrix(parameters))
    return Outputs(jnp.concatenate([x[None], streams]), scores)


def _product(equation: str, a: Array, b: Array) -> Array:
    return jnp.einsum(equation, a, b, precision=lax.Precision.HIGHEST)


def plain_objective(
    parameters: Parameters, tokens_BS: Array, targets_BS: Array, segments_BS: Array, job: Job
) -> tuple[Array, tuple[Array, Outputs]]:
    """What training minimises; the mean cross-entropy and the outputs beside it."""
    outputs = plain_forward(parameters, tokens_BS, segments_BS, job.shape)
    log_partition = jax.nn.logsumexp(outputs.logits, axis=-1)
    scores = jnp.take_along_axis(outputs.logits, targets_BS[..., None], axis=-1)[..., 0]
    loss = jnp.mean(log_partition - scores)
    return loss + job.train.z_loss * jnp.mean(log_partition**2), (loss, outputs)


@dataclass(frozen=True)
class PlainProgram:
    """The training step of the reference, with the methods of `train.step.Program` that a run needs."""

    job: Job
    device: jax.Device

    @cached_property
    def _optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.job.train, parameter_specs(self.job.shape))

    def initial_state(self, values: Any) -> State:
        """Host arrays on the CPU, and an empty optimiser state."""
        parameters = jax.device_put(values, self.device)
        return {"parameters": parameters, "optimizer": jax.jit(self._optimizer.init)(parameters)}

    def step(
        self, state: State, inputs: np.ndarray, targets: np.ndarray, segments: np.ndarray, rate: float
    ) -> tuple[State, StepResult]:
        """One update; `state` is consumed."""
        batch = jax.device_put((inputs, targets, segments, np.float32(rate)), self.device)
        state, loss, norm = self._update(state, *batch)
        result = StepResult(float(loss), float(norm), bool(np.isfinite(loss) and np.isfinite(norm)))
        return state, result

    @cached_property
    def _update(self) -> Any:
        def update(
            state: State, inputs: Array, targets: Array, segments: Array, rate: Array
        ) -> tuple[State, Array, Array]:
            compute = jax.grad(plain_objective, has_aux=True)
            gradients, (loss, _) = compute(state["parameters"], inputs, targets, segments, self.job)
            changes, optimizer = self._optimizer.update(gradients, state["optimizer"], state["parameters"])
            changes = jax.tree.map(lambda change: -rate * change, changes)
            parameters = optax.apply_updates(state["parameters"], changes)
            return {"parameters": parameters, "optimizer": optimizer}, loss, optax.global_norm(gradients)

        return jax.jit(update, donate_argnums=0)
