"""The pipeline: each stage holds some of the layers, and micro-batches pass through, one forward and one
backward a tick (1F1B).

All stages run the same program in lockstep. Stage i of P takes micro-batch t - i forward at tick t and
micro-batch t - 2 (P - 1) + i backward, so the last stage turns round at once, and a stage keeps the inputs
of at most 2 P - 1 micro-batches, from which backward computes again. The first P - 1 ticks have no backward
and the last P - 1 no forward: (P - 1) / (M + P - 1) of the time is lost, as in any 1F1B. Where a stage has
nothing to do it works on what it has and the result is masked: some compilers refuse a conditional.

Embedding and head are split over the stages by vocabulary (arXiv 2411.05288): all compute a part of them for
the micro-batch that enters or leaves.

Shapes: M micro-batches, B sequences of one, S places of it on this device, E model width.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pippin.models import scopes
from pippin.models.functions import Parameters
from pippin.models.moe import RouterReport
from pippin.parallel.exchange import zeros
from pippin.parallel.objective import Objective, Part, Sums

_AXIS = "stage"


class _Carry(NamedTuple):
    """What a tick hands to the next."""

    arriving: Array  # (B, S, E): what the stage before has put out
    returning: Array  # (B, S, E): the gradient of what this stage has put out, from the stage after
    inputs: Array  # (2 P - 1, B, S, E): of micro-batches on their way, by tick
    by_ends: Parameters  # gradients so far
    by_layers: Parameters
    report: RouterReport | None


class Pipeline:
    """One device's run of all micro-batches through its stage.

    Args:
        objective: of one device; its layers are those of the stage.
        parts: the micro-batches, (M, B, S) each, the same on all stages.
    """

    def __init__(self, objective: Objective, parts: Part) -> None:
        self._objective, self._parts, self._exchange = objective, parts, objective.exchange
        self._count, self._stages = parts.inputs.shape[0], objective.degrees.stage
        self._stage = self._exchange.index(_AXIS)
        self._is_first = jnp.asarray(self._stage == 0)
        self._is_last = jnp.asarray(self._stage == self._stages - 1)

    def gradients(self, parameters: Parameters, load_LX: Array | None) -> tuple[Parameters, Sums]:
        """Gradients by these parameters and sums over all micro-batches; the report: the stage's."""
        layers, ends = _apart(parameters)
        warm_up, steady = self._stages - 1, self._count

        def forward(carry: _Carry, tick: Array) -> tuple[_Carry, Array]:
            return self._forward(layers, ends, carry, tick)

        def backward(carry: _Carry, tick: Array, by_out: Array) -> _Carry:
            return self._backward(layers, ends, load_LX, carry, tick, by_out)

        def both(carry: _Carry, tick: Array) -> tuple[_Carry, Array]:
            carry, out = forward(carry, tick)
            loss, by_head, by_out = self._turn(ends, out, tick - warm_up)
            carry = carry._replace(by_ends=jax.tree.map(jnp.add, carry.by_ends, by_head))
            return backward(carry, tick, by_out), loss

        def only_backward(carry: _Carry, tick: Array) -> tuple[_Carry, None]:
            return backward(carry, tick, jnp.zeros_like(carry.returning)), None

        ticks = jnp.arange(2 * warm_up + steady, dtype=jnp.int32)
        carry = self._start(layers, ends, load_LX)
        with jax.named_scope(scopes.BUBBLE):
            carry, _ = lax.scan(forward, carry, ticks[:warm_up])
        carry, losses = lax.scan(both, carry, ticks[warm_up : warm_up + steady])
        with jax.named_scope(scopes.BUBBLE):
            carry, _ = lax.scan(only_backward, carry, ticks[warm_up + steady :])
        return carry.by_layers | carry.by_ends, Sums(jnp.sum(losses), carry.report)

    def losses(self, parameters: Parameters) -> Array:
        """Cross-entropy of each token, (M, B, S), forward only."""
        layers, ends = _apart(parameters)
        warm_up = self._stages - 1

        def body(carry: _Carry, tick: Array) -> tuple[_Carry, Array]:
            carry, out = self._forward(layers, ends, carry, tick)
            targets = _micro_batch(self._parts, tick - warm_up).targets
            return carry, self._objective.token_losses(ends, self._from_last(out), targets)

        ticks = jnp.arange(warm_up + self._count, dtype=jnp.int32)
        _, losses = lax.scan(body, self._start(layers, ends, None), ticks)
        return losses[warm_up:]

    def _forward(
        self, layers: Parameters, ends: Parameters, carry: _Carry, tick: Array
    ) -> tuple[_Carry, Array]:
        """One micro-batch forward through the stage; its output too."""
        entering = self._embed(_micro_batch(self._parts, tick).inputs, ends)
        into = jnp.where(self._is_first, entering, carry.arriving)
        segments = _micro_batch(self._parts, tick - self._stage).segments
        out, _ = self._objective.run_layers(layers, into, segments)
        inputs = lax.dynamic_update_index_in_dim(carry.inputs, into, tick % len(carry.inputs), 0)
        arriving = self._exchange.shift(out, _AXIS)
        return carry._replace(arriving=arriving, inputs=inputs), out

    def _turn(self, ends: Parameters, out: Array, index: Array) -> tuple[Array, Parameters, Array]:
        """Loss and gradients of the micro-batch that left the last stage; all stages share the head."""
        targets = _micro_batch(self._parts, index).targets

        def share(ends: Parameters, out: Array) -> tuple[Array, Array]:
            return self._objective.head(ends, self._from_last(out), targets)

        (_, loss), (by_ends, by_out) = jax.value_and_grad(share, (0, 1), has_aux=True)(ends, out)
        return loss, by_ends, by_out

    def _backward(
        self,
        layers: Parameters,
        ends: Parameters,
        load_LX: Array | None,
        carry: _Carry,
        tick: Array,
        by_out: Array,
    ) -> _Carry:
        """One micro-batch backward through the stage, from its kept input."""
        index = tick - 2 * (self._stages - 1) + self._stage
        valid = (index >= 0) & (index < self._count)
        into = lax.dynamic_index_in_dim(carry.inputs, (index + self._stage) % len(carry.inputs), 0, False)
        segments = _micro_batch(self._parts, index).segments

        def stage(layers: Parameters, into: Array) -> tuple[tuple[Array, Array], RouterReport | None]:
            out, report = self._objective.run_layers(layers, into, segments)
            share = self._objective.router_share(report, load_LX)
            return (out, self._exchange.vary(share, _AXIS)), report

        with jax.named_scope(scopes.RECOMPUTED):
            (_, share), pull, report = jax.vjp(stage, layers, into, has_aux=True)
        by_out = jnp.where(self._is_last, by_out, carry.returning)
        by_layers, by_into = pull(jax.tree.map(partial(_masked, valid), (by_out, jnp.ones_like(share))))
        by_ends = self._embed_backward(ends, by_into, tick)
        return carry._replace(
            returning=self._exchange.shift(by_into, _AXIS, -1),
            by_layers=jax.tree.map(jnp.add, carry.by_layers, by_layers),
            by_ends=jax.tree.map(jnp.add, carry.by_ends, by_ends),
            report=jax.tree.map(lambda x, y: x + _masked(valid, y), carry.report, report),
        )

    def _embed(self, tokens: Array, ends: Parameters) -> Array:
        found = self._objective.embed(ends["embedding"], tokens)
        stream: Array = self._exchange.vary(found.astype(self._objective.compute_dtype))
        return stream

    def _embed_backward(self, ends: Parameters, by_into: Array, tick: Array) -> Parameters:
        """The table's gradient for the micro-batch whose gradient has reached the first stage."""
        index = tick - 2 * (self._stages - 1)
        tokens = _micro_batch(self._parts, index).inputs
        by_into = jnp.where(self._is_first & (index >= 0), by_into, jnp.zeros_like(by_into))
        _, pull = jax.vjp(partial(self._embed, tokens), ends)
        by_ends: Parameters = pull(by_into)[0]
        return by_ends

    def _from_last(self, out: Array) -> Array:
        """The last stage's output, on every stage."""
        shared: Array = self._exchange.vary(self._exchange.sum(_masked(self._is_last, out), _AXIS))
        return shared

    def _start(self, layers: Parameters, ends: Parameters, load_LX: Array | None) -> _Carry:
        first = _micro_batch(self._parts, jnp.int32(0))
        stream = jnp.zeros_like(self._embed(first.inputs, ends))
        kinds = jax.eval_shape(self._objective.run_layers, layers, stream, first.segments)
        return _Carry(
            arriving=stream,
            returning=stream,
            inputs=jnp.stack([stream] * (2 * self._stages - 1)),
            by_ends=jax.tree.map(jnp.zeros_like, ends),
            by_layers=jax.tree.map(jnp.zeros_like, layers),
            report=jax.tree.map(zeros, kinds[1]),
        )


def _apart(parameters: Parameters) -> tuple[Parameters, Parameters]:
    """The layers, which belong to stages, and the ends, which belong to all."""
    layers = {name: value for name, value in parameters.items() if name == "layers"}
    return layers, {name: value for name, value in parameters.items() if name != "layers"}


def _micro_batch(parts: Part, index: Array) -> Part:
    """One of them; beyond either end the nearest, whose results are masked."""
    inside = jnp.clip(index, 0, parts.inputs.shape[0] - 1)
    part: Part = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, inside, 0, keepdims=False), parts)
    return part


def _masked(keep: Array, x: Array) -> Array:
    return jnp.where(keep, x, jnp.zeros_like(x))
