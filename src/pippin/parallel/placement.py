"""Puts arrays where the rules say: the mesh, the shardings of a train state, host arrays onto devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pippin.job import MESH_AXES
from pippin.models.config import ModelConfig
from pippin.models.parameters import ParameterSpec, parameter_specs
from pippin.parallel.degrees import Degrees
from pippin.parallel.rules import partition


def make_mesh(degrees: Degrees, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over these devices, by default JAX's; the first ones where there are more than it needs.

    Neighbours along the last axis (tensor) are neighbours in the list.
    """
    placed = np.asarray((jax.devices() if devices is None else devices)[: degrees.devices])
    return Mesh(placed.reshape([getattr(degrees, axis) for axis in MESH_AXES]), MESH_AXES)


def state_shardings(state: Any, config: ModelConfig, degrees: Degrees, mesh: Mesh) -> Any:
    """Shardings of a whole train state: what has a parameter's name and shape lies as that parameter does.

    That covers optimiser moments, whatever the optimiser calls them; all else is replicated.
    """
    names = jax.tree_util.tree_flatten_with_path(parameter_specs(config), is_leaf=_is_spec)[0]
    known = {_key(path): spec for path, spec in names}

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        for start in range(len(path)):
            spec = known.get(_key(path[start:]))
            if spec is not None and spec.shape == tuple(leaf.shape):
                return NamedSharding(mesh, partition(spec.axes, degrees))
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, state)


def _is_spec(leaf: Any) -> bool:
    return isinstance(leaf, ParameterSpec)


def _key(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def place(tree: Any, shardings: Any) -> Any:
    """Host arrays onto the devices. Each process has the whole array and hands over what its devices hold."""

    def put(x: Any, sharding: NamedSharding) -> Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.block_until_ready(jax.tree.map(put, tree, shardings))
