"""The compiled programs of a job: one training step, one evaluation step.

They are compiled ahead of the first step, so that compile time is a span of its own, and depend neither
on the number of steps nor on the schedule: a probe and the run it plans share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from pippin.errors import PippinError
from pippin.job import Job
from pippin.models import decoder
from pippin.models.attention import attention_backend
from pippin.models.balance import even_load, next_load, router_metrics, router_objective
from pippin.models.functions import Functions, scan_layers, unroll_layers
from pippin.models.loss import mean_loss, token_losses
from pippin.models.moe import RouterReport
from pippin.models.parameters import initial_parameters, parameter_specs
from pippin.train.optimizer import make_optimizer

# {"parameters": pytree, "optimizer": optax state}, with experts also {"load": (L, X), see models.balance}
State = dict[str, Any]


@dataclass(frozen=True)
class Choices:
    """What the chip rules, or the job's overrides, decided."""

    compute_dtype: str
    attention: str
    scan_layers: bool


@dataclass(frozen=True)
class StepResult:
    """What one step reports. `loss` is the mean cross-entropy in nats a token, before the update.

    `router` has the figures of `models.balance.router_metrics`, empty without experts.
    """

    loss: float
    gradient_norm: float
    finite: bool
    router: dict[str, Any] = field(default_factory=dict)


class Program:
    """A job's step and evaluation, compiled for the device at hand.

    Args:
        job: what to train.
        choices: how to run it on this chip.
        training: False compiles the evaluation alone.

    Attributes:
        state_shapes: the abstract arrays of a state.

    Raises:
        PippinError: the trainer does not train this shape.
    """

    def __init__(self, job: Job, choices: Choices, *, training: bool = True) -> None:
        if reason := job.shape.planned_only:
            raise PippinError(reason, where="model", fix="choose another shape, or `pippin plan` this one")
        self.job, self.choices = job, choices
        self._optimizer = make_optimizer(job.train, parameter_specs(job.shape))
        self._forward = _forward(job, choices)
        batch = (job.train.batch_size, job.train.sequence_length)
        tokens = jax.ShapeDtypeStruct(batch, jnp.int32)
        state = jax.eval_shape(self._start, jax.eval_shape(lambda: initial_parameters(job.shape, 0)))
        self.state_shapes: State = state
        rate = jax.ShapeDtypeStruct((), jnp.float32)
        if training:
            step = jax.jit(self._update, donate_argnums=0)
            self._step = step.lower(state, tokens, tokens, tokens, rate).compile()
        weights = jax.ShapeDtypeStruct(batch, jnp.float32)
        self._score = jax.jit(self._losses).lower(state["parameters"], tokens, tokens, weights).compile()

    def initial_state(self, values: Any = None) -> State:
        """Parameters on the device and an empty optimiser state.

        Args:
            values: host arrays to start from; by default those of the job's seed, made on the host.
        """
        if values is None:
            values = initial_parameters(self.job.shape, self.job.train.seed)
        parameters = jax.device_put(values)
        state: State = jax.block_until_ready(jax.jit(self._start)(parameters))
        return state

    def step(
        self, state: State, inputs: np.ndarray, targets: np.ndarray, segments: np.ndarray, rate: float
    ) -> tuple[State, StepResult]:
        """One update. `state` is consumed. A non-finite loss or gradient leaves its values unchanged.

        Args:
            state: from `initial_state`, a step or a checkpoint.
            inputs, targets, segments: int32 (B, S).
            rate: learning rate.
        """
        state, (loss, norm, finite, router) = self._step(state, inputs, targets, segments, np.float32(rate))
        figures = {name: np.asarray(value).tolist() for name, value in router.items()}
        result = StepResult(float(loss), float(norm), bool(finite), figures)
        return jax.block_until_ready(state), result

    def score(
        self, parameters: Any, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Sum of weighted losses in nats of each row, (B,) float32, one document a row."""
        return np.asarray(self._score(parameters, inputs, targets, weights))

    def _start(self, parameters: Any) -> State:
        state = {"parameters": parameters, "optimizer": self._optimizer.init(parameters)}
        return state | ({"load": even_load(self.job.shape)} if self.job.shape.moe else {})

    def _update(
        self, state: State, inputs: Array, targets: Array, segments: Array, rate: Array
    ) -> tuple[State, tuple[Array, Array, Array, dict[str, Array]]]:
        load = state.get("load")
        (_, (loss, report)), gradients = jax.value_and_grad(self._loss, has_aux=True)(
            state["parameters"], load, inputs, targets, segments
        )
        norm = optax.global_norm(gradients)
        updates, optimizer = self._optimizer.update(gradients, state["optimizer"], state["parameters"])
        updates = jax.tree.map(lambda update: -rate * update, updates)
        new = {"parameters": optax.apply_updates(state["parameters"], updates), "optimizer": optimizer}
        router = {}
        if load is not None:
            new["load"], router = next_load(report), router_metrics(report, load)
        # The old buffers are donated, so a bad update is dropped here, by a select, or not at all.
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        return jax.tree.map(lambda fresh, old: jnp.where(finite, fresh, old), new, state), (
            loss,
            norm,
            finite,
            router,
        )

    def _loss(
        self, parameters: Any, load: Array | None, inputs: Array, targets: Array, segments: Array
    ) -> tuple[Array, tuple[Array, RouterReport | None]]:
        hidden, report = self._forward(parameters, inputs, segments)
        head = decoder.head_matrix(parameters)
        objective, loss = mean_loss(hidden, head, targets, self.job.train.z_loss)
        if (moe := self.job.shape.moe) and report is not None and load is not None:
            objective = objective + router_objective(report, load, moe, inputs.size)
        return objective, (loss, report)

    def _losses(self, parameters: Any, inputs: Array, targets: Array, weights: Array) -> Array:
        hidden, _ = self._forward(parameters, inputs, jnp.zeros_like(inputs))
        return jnp.sum(token_losses(hidden, decoder.head_matrix(parameters), targets) * weights, axis=-1)


def _forward(job: Job, choices: Choices) -> Callable[[Any, Array, Array], tuple[Array, RouterReport | None]]:
    functions = Functions(
        attention=attention_backend(choices.attention),
        layers=scan_layers if choices.scan_layers else unroll_layers,
    )
    dtype = jnp.dtype(choices.compute_dtype)

    def forward(parameters: Any, tokens: Array, segments: Array) -> tuple[Array, RouterReport | None]:
        return decoder.forward(
            parameters, tokens, segments, job.shape, functions=functions, compute_dtype=dtype
        )

    return forward
