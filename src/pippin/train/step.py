"""The compiled programs of a job: one training step, one evaluation step.

They are compiled ahead of the first step, so that compile time is a span of its own, and depend neither
on the number of steps nor on the schedule: a probe and the run it plans share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from pippin.devices import compile_program, give_back_freed_memory, reserve_large_pages
from pippin.errors import PippinError
from pippin.job import Job
from pippin.models import scopes
from pippin.models.attention import attention_backend
from pippin.models.balance import even_load, next_load, router_metrics
from pippin.models.parameters import initial_parameters, parameter_specs
from pippin.parallel.degrees import Degrees, check, resolve
from pippin.parallel.gradients import Spread
from pippin.parallel.layers import Remat
from pippin.parallel.objective import Objective, Part, Sums
from pippin.parallel.placement import make_mesh, place, state_shardings
from pippin.parallel.rules import map_specs
from pippin.train.optimizer import make_optimizer

# {"parameters": pytree, "optimizer": optax state}, with experts also {"load": (L, X), see models.balance}
State = dict[str, Any]


@dataclass(frozen=True)
class Choices:
    """What the chip rules, or the job's overrides, decided. `remat`: see `parallel.layers`;
    `attention_reason`: why this backend, in words."""

    compute_dtype: str
    attention: str
    scan_layers: bool
    remat: Remat = "none"
    attention_reason: str = "as asked"


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
    """A job's step and evaluation, compiled for the devices at hand.

    Losses and gradients are computed by every device on its parts, see `parallel.gradients`; the update is
    written for whole arrays, and the compiler spreads it as the arrays lie.

    Args:
        job: what to train, and on which mesh.
        choices: how to run it on this chip.
        training: False compiles the evaluation alone.
        compiled: False compiles nothing, for `trace` and `lower`.
        devices: where it runs, or for which it is compiled; by default all devices of JAX.

    Attributes:
        degrees: devices along each mesh axis.
        state_shapes: the abstract arrays of a state, with where they lie.

    Raises:
        PippinError: the trainer does not train this shape, or the layout cannot work.
    """

    def __init__(
        self,
        job: Job,
        choices: Choices,
        *,
        training: bool = True,
        compiled: bool = True,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        if reason := job.shape.planned_only:
            raise PippinError(reason, where="model", fix="choose another shape, or `pippin plan` this one")
        self.job, self.choices = job, choices
        devices = jax.devices() if devices is None else devices
        self.degrees = resolve(job.mesh, len(devices))
        check(job, self.degrees)
        self._optimizer = make_optimizer(job.train, parameter_specs(job.shape))
        self._spread = Spread(_objective(job, choices, self.degrees), make_mesh(self.degrees, devices))
        self._training = training
        if not compiled:
            return
        if training:
            self._step = compile_program(self.lower())
        self._score = compile_program(self.trace_score().lower())
        self._tidy_memory()

    @property
    def spread(self) -> Spread:
        """Loss and gradients on this mesh, as the step computes them."""
        return self._spread

    @cached_property
    def state_shapes(self) -> State:
        parameters = map_specs(
            lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32), parameter_specs(self.job.shape)
        )
        state = jax.eval_shape(self._start, parameters)
        where = state_shardings(state, self.job.shape, self.degrees, self._spread.mesh)
        placed: State = jax.tree.map(lambda leaf, sharding: leaf.update(sharding=sharding), state, where)
        return placed

    @cached_property
    def shardings(self) -> State:
        """Where each array of a state lies."""
        shardings: State = jax.tree.map(lambda leaf: leaf.sharding, self.state_shapes)
        return shardings

    @cached_property
    def _tokens(self) -> jax.ShapeDtypeStruct:
        batch = (self.job.train.batch_size, self.job.train.sequence_length)
        return jax.ShapeDtypeStruct(batch, jnp.int32, sharding=self._spread.token_sharding)

    @property
    def step_bytes(self) -> int | None:
        """What the compiler allots to a step on one device: state, batch, temporaries; None where it does
        not say."""
        found = self._step.memory_analysis()
        if found is None:
            return None
        held = found.argument_size_in_bytes + found.temp_size_in_bytes
        return int(held + found.output_size_in_bytes - found.alias_size_in_bytes)

    @property
    def step_text(self) -> str:
        """The compiled step as XLA writes it."""
        return str(self._step.as_text())

    def _tidy_memory(self) -> None:
        """Gives back what is free of this process's memory, and makes room in it for a step."""
        give_back_freed_memory()
        if self._training:
            reserve_large_pages(self.step_bytes or 0, self._spread.mesh.local_devices)

    def trace(self) -> Any:
        """The training step before it is lowered, the same whatever it is lowered for."""
        update = jax.jit(self._update, donate_argnums=0, out_shardings=(self.shardings, None))
        rate = jax.ShapeDtypeStruct((), jnp.float32)
        return update.trace(self.state_shapes, self._tokens, self._tokens, self._tokens, rate)

    def lower_apply(self, gradients: Any, sums: Any) -> Any:
        """`apply_gradients` before it is compiled, as a program of its own; like the step it takes a rate and
        consumes the state."""
        update = jax.jit(self.apply_gradients, donate_argnums=0, out_shardings=(self.shardings, None))
        return update.lower(self.state_shapes, gradients, sums, np.float32(0))

    def trace_score(self) -> Any:
        """The evaluation before it is lowered."""
        tokens, parameters = self._tokens, self.state_shapes["parameters"]
        weights = tokens.update(dtype=jnp.float32)
        return jax.jit(self._spread.scores).trace(parameters, tokens, tokens, weights)

    def lower(self) -> Any:
        """The training step before it is compiled."""
        return self.trace().lower()

    def initial_state(self, values: Any = None) -> State:
        """Parameters on the device and an empty optimiser state.

        Args:
            values: host arrays to start from; by default those of the job's seed, made on the host.
        """
        if values is None:
            values = initial_parameters(self.job.shape, self.job.train.seed)
        parameters = place(values, self.shardings["parameters"])
        start = jax.jit(self._start, out_shardings=self.shardings)
        state: State = jax.block_until_ready(start(parameters))
        self._tidy_memory()
        return state

    def saved_state(self, values: State) -> State:
        """A state from host arrays, saved under this layout or another."""
        state: State = place(values, self.shardings)
        self._tidy_memory()
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
        batch = self._spread.place(inputs, targets, segments)
        state, (loss, norm, finite, router) = self._step(state, *batch, np.float32(rate))
        figures = {name: np.asarray(value).tolist() for name, value in router.items()}
        result = StepResult(float(loss), float(norm), bool(finite), figures)
        return jax.block_until_ready(state), result

    def score(
        self, parameters: Any, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Sum of weighted losses in nats of each row, (B,) float32, one document a row."""
        return np.asarray(self._score(parameters, *self._spread.place(inputs, targets, weights)))

    def _start(self, parameters: Any) -> State:
        state = {"parameters": parameters, "optimizer": self._optimizer.init(parameters)}
        return state | ({"load": even_load(self.job.shape)} if self.job.shape.moe else {})

    def _update(
        self, state: State, inputs: Array, targets: Array, segments: Array, rate: Array
    ) -> tuple[State, tuple[Array, Array, Array, dict[str, Array]]]:
        batch = Part(inputs, targets, segments)
        gradients, sums = self._spread.gradients(state["parameters"], state.get("load"), batch)
        return self.apply_gradients(state, gradients, sums, rate)

    @jax.named_scope(scopes.OPTIMIZER)
    def apply_gradients(
        self, state: State, gradients: Any, sums: Sums, rate: Array
    ) -> tuple[State, tuple[Array, Array, Array, dict[str, Array]]]:
        """What a step does once it has its gradients: the new state, and what the step reports.

        Args:
            state: before the step.
            gradients: a pytree like the parameters.
            sums: what `Spread.gradients` gives beside them.
            rate: learning rate, a scalar.
        """
        load, (loss, report) = state.get("load"), sums
        norm = optax.global_norm(gradients)
        updates, optimizer = self._optimizer.update(gradients, state["optimizer"], state["parameters"])
        updates = jax.tree.map(lambda update: -rate * update, updates)
        new = {"parameters": optax.apply_updates(state["parameters"], updates), "optimizer": optimizer}
        router = {}
        if load is not None and report is not None:
            new["load"], router = next_load(report), router_metrics(report, load)
        # The old buffers are donated, so a bad update is dropped here, by a select, or not at all.
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        return jax.tree.map(lambda fresh, old: jnp.where(finite, fresh, old), new, state), (
            loss,
            norm,
            finite,
            router,
        )


def _objective(job: Job, choices: Choices, degrees: Degrees) -> Objective:
    return Objective(
        job,
        degrees,
        attention=attention_backend(choices.attention),
        compute_dtype=jnp.dtype(choices.compute_dtype),
        remat=choices.remat,
        scan=choices.scan_layers,
    )
