"""Where every array lies: one table from logical axes to mesh axes.

The model names what a dimension is (`models.parameters`), this table says over which mesh axes it is split.
A dimension that is not named here, and an axis of degree 1, splits nothing.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import PartitionSpec

from pippin.models.config import ModelConfig
from pippin.models.parameters import ParameterSpec, parameter_specs
from pippin.parallel.degrees import BATCH_AXES, Degrees

RULES: dict[str, tuple[str, ...]] = {
    # of parameters
    "layer": ("stage",),
    "vocab": ("stage", "tensor"),  # the ends are shared by all stages, so that none idles on the head
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "ffn": ("tensor",),
    "expert": ("expert",),
    "expert_ffn": ("tensor",),
    # of a batch
    "batch": BATCH_AXES,
    "sequence": ("context",),
}


def partition(axes: tuple[str, ...], degrees: Degrees) -> PartitionSpec:
    """The mesh axes of each dimension, those of degree 1 left out."""
    active = (_active(axis, degrees) for axis in axes)
    return PartitionSpec(*(names if len(names) > 1 else (names[0] if names else None) for names in active))


def _active(axis: str, degrees: Degrees) -> tuple[str, ...]:
    return degrees.active(*RULES.get(axis, ()))


def split_axes(spec: ParameterSpec, degrees: Degrees) -> tuple[str, ...]:
    """All mesh axes over which a parameter is split."""
    return tuple(name for axis in spec.axes for name in _active(axis, degrees))


def split_dim(spec: ParameterSpec, mesh_axis: str, degrees: Degrees) -> int | None:
    """The dimension that is split over a mesh axis; None where the parameter is whole along it."""
    found = [dim for dim, axis in enumerate(spec.axes) if mesh_axis in _active(axis, degrees)]
    return found[0] if found else None


def parameter_partitions(config: ModelConfig, degrees: Degrees) -> Any:
    """The pytree of partitions for a model's parameters."""
    return map_specs(lambda spec: partition(spec.axes, degrees), parameter_specs(config))


def map_specs(function: Any, specs: Any, *trees: Any) -> Any:
    """`jax.tree.map` with `ParameterSpec`s as leaves."""
    return jax.tree.map(function, specs, *trees, is_leaf=lambda leaf: isinstance(leaf, ParameterSpec))
