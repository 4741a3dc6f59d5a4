"""Loss and gradients of a global batch on a mesh, in one program that holds the collectives written here
and in the functions it calls, and no others.

The recipe of a device: take your part of the parameters and of the batch; for each micro-batch compute your
share of the objective and its gradients; add both up over the devices that hold the same parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pippin.job import MESH_AXES
from pippin.models import scopes
from pippin.models.functions import Parameters
from pippin.models.parameters import parameter_specs
from pippin.parallel import context
from pippin.parallel.degrees import TOKEN_AXES
from pippin.parallel.exchange import zeros
from pippin.parallel.objective import Objective, Part, Sums
from pippin.parallel.pipeline import Pipeline
from pippin.parallel.placement import place
from pippin.parallel.rules import map_specs, parameter_partitions, partition, split_axes


class Spread:
    """An objective spread over a mesh. Arrays in and out are global.

    Args:
        objective: of one device.
        mesh: of the objective's degrees.
    """

    def __init__(self, objective: Objective, mesh: Mesh) -> None:
        self.objective, self.mesh = objective, mesh
        self.degrees, self._exchange = objective.degrees, objective.exchange
        self._micro_batches = objective.job.mesh.micro_batches
        self.tokens = partition(("batch", "sequence"), self.degrees)
        self.token_sharding = NamedSharding(mesh, self.tokens)

    def place(self, *arrays_BS: np.ndarray) -> tuple[Array, ...]:
        """A batch's host arrays onto the devices."""
        order = context.order(arrays_BS[0].shape[1], self.degrees.context)
        ordered = [x if order is None else x[:, order] for x in arrays_BS]
        return tuple(place(ordered, [self.token_sharding] * len(ordered)))

    def gradients(
        self, parameters: Parameters, load_LX: Array | None, batch: Part
    ) -> tuple[Parameters, Sums]:
        """The objective's gradients by every parameter; mean loss and router sums of the global batch."""
        parts = parameter_partitions(self.objective.job.shape, self.degrees)
        by_layer = partition(("layer",), self.degrees)
        sums: Any = (PartitionSpec(), by_layer)
        gradients, total = self._on_mesh(
            self._gradients, (parts, by_layer, self.tokens), (parts, Sums(*sums)), parameters, load_LX, batch
        )
        return gradients, total

    def scores(self, parameters: Parameters, inputs: Array, targets: Array, weights: Array) -> Array:
        """Sum of weighted losses of each row, (B,)."""
        parts = parameter_partitions(self.objective.job.shape, self.degrees)
        rows = partition(("batch",), self.degrees)
        scores: Array = self._on_mesh(
            self._scores, (parts, *[self.tokens] * 3), rows, parameters, inputs, targets, weights
        )
        return scores

    def _on_mesh(self, function: Callable[..., Any], into: Any, out_of: Any, *arguments: Any) -> Any:
        if self.degrees.devices == 1:  # the plain program
            return function(*arguments)
        return jax.shard_map(function, mesh=self.mesh, in_specs=into, out_specs=out_of)(*arguments)

    def _gradients(
        self, parameters: Parameters, load_LX: Array | None, batch: Part
    ) -> tuple[Parameters, Sums]:
        """On one device: its part of the gradients."""
        parts = _micro_batches(batch, self._micro_batches)
        # Embedding and head are gathered once a step, layers whenever they are used.
        whole, pull_ends = jax.vjp(self.objective.gather_ends, self._exchange.vary(parameters))
        if self.degrees.stage > 1:
            gradients, sums = Pipeline(self.objective, parts).gradients(whole, load_LX)
        else:
            gradients, sums = _accumulated(partial(self._of_part, whole, load_LX), parts)
        return self._reduced(pull_ends(gradients)[0], sums)

    def _of_part(self, whole: Parameters, load_LX: Array | None, part: Part) -> tuple[Parameters, Sums]:
        compute = jax.value_and_grad(self.objective, has_aux=True)
        (_, sums), gradients = compute(whole, load_LX, part)
        return gradients, sums

    def _reduced(self, gradients: Parameters, sums: Sums) -> tuple[Parameters, Sums]:
        """Adds up what devices have computed of the same thing."""

        def add(spec: Any, gradient: Array) -> Array:
            split = split_axes(spec, self.degrees)
            return self._exchange.sum(
                gradient, *(axis for axis in self.degrees.active(*MESH_AXES) if axis not in split)
            )

        specs = parameter_specs(self.objective.job.shape)
        total = jax.tree.map(lambda x: self._exchange.sum(x, *TOKEN_AXES), sums)
        return map_specs(add, specs, gradients), total

    def _scores(self, parameters: Parameters, inputs: Array, targets: Array, weights: Array) -> Array:
        part = Part(inputs, targets, jnp.zeros_like(inputs))
        parameters = self.objective.gather_ends(self._exchange.vary(parameters))
        if self.degrees.stage > 1:
            pipeline = Pipeline(self.objective, _micro_batches(part, self._micro_batches))
            losses_BS = pipeline.losses(parameters).reshape(targets.shape)
        else:
            losses_BS = self.objective.losses(parameters, part)
        return self._exchange.sum(jnp.sum(losses_BS * weights, axis=-1), "context")


def _micro_batches(batch: Part, count: int) -> Part:
    """(M, B / M, S) each."""
    parts: Part = jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), batch)
    return parts


def _accumulated(one: Callable[[Part], Any], parts: Part) -> Any:
    """The sum over micro-batches, of which only one is in memory at a time."""
    first = jax.tree.map(lambda x: x[0], parts)
    if parts.inputs.shape[0] == 1:
        return one(first)

    def body(total: Any, part: Part) -> tuple[Any, None]:
        gradients = one(part)
        with jax.named_scope(scopes.ACCUMULATION):
            return jax.tree.map(jnp.add, total, gradients), None

    return lax.scan(body, jax.tree.map(zeros, jax.eval_shape(one, first)), parts)[0]
