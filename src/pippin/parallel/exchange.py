"""The collectives, by mesh axis. An axis of degree 1 costs nothing: no collective is written for it.

All run inside one `jax.shard_map` over the whole mesh, with the types of varying values checked, so that the
transpose of each is the right one: a gather's is a scattered sum, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pippin.job import MESH_AXES
from pippin.parallel.degrees import Degrees


@dataclass(frozen=True)
class Exchange:
    """Collectives between the devices of a mesh of these degrees."""

    degrees: Degrees

    def vary(self, x: Any, *axes: str) -> Any:
        """Marks arrays as different on each device along the axes (none given: along all), whatever they
        hold: what is done to them is then local."""
        return jax.tree.map(partial(_vary, self.degrees.active(*axes or MESH_AXES)), x)

    def sum(self, x: Array, *axes: str) -> Array:
        active = self.degrees.active(*axes)
        return lax.psum(x, active) if active else x

    def max(self, x: Array, *axes: str) -> Array:
        active = self.degrees.active(*axes)
        return lax.pmax(x, active) if active else x

    def gather(self, x: Array, axis: str, dim: int) -> Array:
        """Puts the parts of an axis one behind the other along a dimension."""
        if not self.degrees.active(axis):
            return x
        whole: Array = lax.all_gather(x, axis, axis=dim, tiled=True)
        return whole

    def scatter_sum(self, x: Array, axis: str, dim: int) -> Array:
        """Adds up over an axis; each device keeps its part along a dimension."""
        if not self.degrees.active(axis):
            return x
        part: Array = lax.psum_scatter(x, axis, scatter_dimension=dim, tiled=True)
        return part

    def swap(self, x: Array, axis: str, *, split: int, join: int) -> Array:
        """All-to-all: each device sends every other one its part of dimension `split`."""
        if not self.degrees.active(axis):
            return x
        swapped: Array = lax.all_to_all(x, axis, split, join, tiled=True)
        return swapped

    def index(self, *axes: str) -> Array | int:
        """Place of this device along the axes, the last one fastest."""
        active = self.degrees.active(*axes)
        return lax.axis_index(active) if active else 0

    def shift(self, x: Any, axis: str, by: int = 1) -> Any:
        """Hands arrays on to the device `by` places further, around the ring."""
        count = getattr(self.degrees, axis)
        ring = [(place, (place + by) % count) for place in range(count)]
        return jax.tree.map(lambda part: lax.ppermute(part, axis, ring), x)

    def gather_parameter(self, x: Array, dim: int | None, dtype: Any) -> Array:
        """A parameter whole along fsdp, in the compute type; its gradient is added up in float32."""
        return x if dim is None else _gather_parameter(dim, jnp.dtype(dtype).name, x)


def varying_axes(kind: Any) -> frozenset[str]:
    """The mesh axes along which an array of this abstract type differs."""
    manual = getattr(kind, "manual_axis_type", None)
    return frozenset(manual.varying) if manual is not None else frozenset(getattr(kind, "vma", None) or ())


def zeros(kind: Any) -> Array:
    """Zeros of an abstract type, also in how they vary: what a loop may add to."""
    return _vary(tuple(sorted(varying_axes(kind))), jnp.zeros(kind.shape, kind.dtype))


def _vary(axes: tuple[str, ...], x: Array) -> Array:
    missing = tuple(axis for axis in axes if axis not in varying_axes(jax.typeof(x)))
    return lax.pcast(x, missing, to="varying") if missing else x


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gather_parameter(dim: int, dtype: str, x: Array) -> Array:
    return _gather_forward(dim, dtype, x)[0]


def _gather_forward(dim: int, dtype: str, x: Array) -> tuple[Array, None]:
    # The collective itself and no call to the above: what is kept for backward is chosen by operation.
    return lax.all_gather(x.astype(dtype), "fsdp", axis=dim, tiled=True), None


def _gather_backward(dim: int, dtype: str, _: None, gradient: Array) -> tuple[Array]:
    wide = gradient.astype(jnp.float32)
    return (lax.psum_scatter(wide, "fsdp", scatter_dimension=dim, tiled=True),)


_gather_parameter.defvjp(_gather_forward, _gather_backward)
