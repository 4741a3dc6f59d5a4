"""Attention kernels that a target's rules wish for: whether the step has them, and whether they can be
lowered here at all, by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pippin.job import Job
from pippin.models.attention import BACKENDS, Attention
from pippin.portability.forms import Form
from pippin.portability.lowering import Refusal, lower_each
from pippin.train.setup import attention_use


@dataclass(frozen=True)
class Kernel:
    """A kernel that a target's rules wish for.

    Attributes:
        name: of the attention backend.
        in_step: the step is lowered with it.
        not_in_step: why not; None where it is.
        lowers_alone: it could be lowered here for this target, forward and backward, on one device.
        not_lowered: why not; None where it could.
    """

    name: str
    in_step: bool
    not_in_step: str | None
    lowers_alone: bool
    not_lowered: str | None


def wished_kernel(job: Job, target: str, form: Form, num_devices: int) -> Kernel | None:
    """The kernel for a target; None where its rules, or the job, ask for the reference."""
    name = job.chip.attention or form.rules.attention
    if name == "reference":
        return None
    used = form.choices.attention == name
    refused = _not_lowered(job, name, target, form, num_devices)
    reason = form.choices.attention_reason.removeprefix(f"not {name}: ")
    return Kernel(name, used, None if used else reason, refused is None, refused)


def _not_lowered(job: Job, name: str, target: str, form: Form, num_devices: int) -> str | None:
    backend = BACKENDS[name]
    if backend.function is None:
        return backend.obstacle(attention_use(job, target, num_devices, form.choices.compute_dtype))
    outcomes = lower_each(partial(_trace, job, backend.function, form), [target], form.rules.prng)
    outcome = outcomes[target]
    return outcome.error if isinstance(outcome, Refusal) else None


def _trace(job: Job, attention: Attention, form: Form) -> Any:
    """One sequence of the job through the kernel, with its gradients."""
    shape, length = job.shape, job.train.sequence_length
    dtype = jnp.dtype(form.choices.compute_dtype)
    q = jax.ShapeDtypeStruct((1, length, shape.num_heads, shape.head_dim), dtype)
    k = jax.ShapeDtypeStruct((1, length, shape.num_kv_heads, shape.head_dim), dtype)
    segments = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def total(q: Array, k: Array, v: Array, segments: Array) -> Array:
        return jnp.sum(attention(q, k, v, segments).astype(jnp.float32))

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2))).trace(q, k, k, segments)
