"""The step's gradients with a part left out: what the step gains is what the part costs in it.

Each program is compiled from the objective that the step itself uses, with one thing changed. Programs
follow one another, each with one part less than the one before, so that differences add up:
as run -> nothing recomputed -> no communication -> no attention -> no vocabulary loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec

from pippin.assay.interleaved import Compile, Runs, compile_ahead
from pippin.assay.refusals import refusal
from pippin.models.functions import Parameters
from pippin.parallel.degrees import BATCH_AXES, Degrees
from pippin.parallel.gradients import Spread
from pippin.parallel.objective import Objective, Part

AS_RUN = "gradients"
KEPT = "gradients, nothing recomputed"
ALONE = "gradients, no communication"
NO_ATTENTION = "gradients, no attention"
NO_VOCABULARY = "gradients, no attention, no vocabulary loss"


class _WithoutVocabulary(Objective):
    """The last norm stays. The gradient that goes back is the normed state itself, so that nothing in it is a
    constant that a compiler could fold."""

    def head(self, parameters: Parameters, x_BSE: Array, targets_BS: Array) -> tuple[Array, Array]:
        hidden = self._hidden(parameters, x_BSE).astype(jnp.float32)
        # All devices of a group that shares the vocabulary have the same state: together they count once.
        shared = 0.5e-6 / self.degrees.of("stage", "tensor")
        share = self.exchange.sum(shared * jnp.sum(hidden * hidden), "stage", "tensor")
        return share, share


def no_attention(q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array) -> Array:
    """Something of the same shape that needs all three and costs next to nothing."""
    return q_BSHD + jnp.repeat(k_BSKD + v_BSKD, q_BSHD.shape[2] // k_BSKD.shape[2], axis=2)


@dataclass(frozen=True)
class Ablations:
    """Programs by name, in the order above, and for each that cannot be had the reason."""

    programs: dict[str, Runs]
    missing: dict[str, str]


def ablations(
    spread: Spread, parameters: Parameters, load: Any, batch: Part, compiled: Compile = compile_ahead
) -> Ablations:
    """Compiles them.

    Args:
        spread: the step's own.
        parameters: of a state, on the devices.
        load: the state's, with experts; else None.
        batch: on the devices.
        compiled: makes a program of a function and its arguments.

    Raises:
        jax.errors.JaxRuntimeError: the gradients as the step computes them do not run.
    """
    given = (parameters, load, batch)
    programs: dict[str, Runs] = {}
    missing: dict[str, str] = {}

    def add(name: str, make: Callable[[], Runs]) -> bool:
        try:
            programs[name] = make()
        except jax.errors.JaxRuntimeError as error:
            missing[name] = refusal(error)
        return name in programs

    objective = spread.objective
    # Without these nothing can be taken apart: an error is the caller's.
    programs[AS_RUN] = compiled(spread.gradients, *given)
    if objective.remat != "none":
        kept = replace(objective, remat="none")
        if add(KEPT, lambda: compiled(Spread(kept, spread.mesh).gradients, *given)):
            objective = kept
    alone = objective.degrees.devices > 1
    if alone and (why := _not_alone(objective.degrees)):
        missing[ALONE], alone = why, False
    if alone:
        alone = add(ALONE, lambda: _local(objective, spread, *given, compiled))

    def less(objective: Objective) -> Runs:
        if alone:
            return _local(objective, spread, *given, compiled)
        return compiled(Spread(objective, spread.mesh).gradients, *given)

    objective = replace(objective, attention=no_attention)
    add(NO_ATTENTION, lambda: less(objective))
    bare = _WithoutVocabulary(**_changed(objective))
    add(NO_VOCABULARY, lambda: less(bare))
    return Ablations(programs, missing)


def _not_alone(degrees: Degrees) -> str | None:
    """Why a device cannot do its part of the step alone; None where the batch alone is split."""
    split = degrees.active("expert", "stage", "context", "tensor")
    return f"the layout splits {', '.join(split)}, not the batch alone" if split else None


def _local(
    objective: Objective, spread: Spread, parameters: Parameters, load: Any, batch: Part, compiled: Compile
) -> Runs:
    """Every device does its part of the batch with all parameters at hand, and none speaks to another."""
    devices = objective.degrees.devices
    train = objective.job.train
    job = objective.job.model_copy(
        update={"train": train.model_copy(update={"batch_size": train.batch_size // devices})}
    )
    single = Spread(type(objective)(**_changed(objective, job=job, degrees=Degrees())), spread.mesh)
    axes = objective.degrees.active(*BATCH_AXES)

    def own(parameters: Parameters, load: Any, batch: Part) -> Any:
        parameters, load = jax.tree.map(lambda x: lax.pcast(x, axes, to="varying"), (parameters, load))
        return jax.tree.map(lambda x: x[None], single.gradients(parameters, load, batch))

    everywhere = NamedSharding(spread.mesh, PartitionSpec())
    parameters, load = jax.device_put((parameters, load), everywhere)
    specs = (PartitionSpec(), PartitionSpec(), spread.tokens)
    mapped = jax.shard_map(own, mesh=spread.mesh, in_specs=specs, out_specs=PartitionSpec(axes))
    return compiled(mapped, parameters, load, batch)


def _changed(objective: Objective, **changes: Any) -> dict[str, Any]:
    return {field.name: getattr(objective, field.name) for field in fields(objective)} | changes
