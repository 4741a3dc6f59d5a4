"""One number that says whether two sets of parameters are the same bits."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np


def flatten(tree: Any) -> dict[str, Any]:
    """A pytree as one level of dotted paths, in sorted order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return dict(sorted((_dotted(path), leaf) for path, leaf in leaves))


def unflatten(template: Any, flat: dict[str, Any]) -> Any:
    """Puts arrays back into the structure of `template`. The paths must be the same."""
    return jax.tree_util.tree_map_with_path(lambda path, _: flat[_dotted(path)], template)


def parameter_sha256(parameters: Any) -> str:
    """SHA-256 over every array's path, type, shape and little-endian bytes."""
    digest = hashlib.sha256()
    for path, leaf in flatten(parameters).items():
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path}:{array.dtype.name}:{array.shape};".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def _dotted(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
